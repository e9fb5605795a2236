/* plot.c - writes a script for gnuplot and reads the PNG that it draws.
 *
 * gnuplot reads the script from a temporary file and returns the picture through a pipe. So neither
 * side can block the other, no shell sees a file name, and a failure leaves no incomplete picture.
 *
 * SPDX-License-Identifier: MIT
 */
#include "plot.h"

#include "fail.h"

#include <gradus/ops.h>
#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* ---- gnuplot --------------------------------------------------------------------------------- */

/* Reads everything from a pipe and closes it. The caller frees the result. */
static char *read_all(int pipe_end, size_t *length)
{
    char *text = NULL, buffer[65536];
    FILE *memory = open_memstream(&text, length);
    if (!memory)
        give_up("no memory for a picture");
    for (ssize_t count; (count = read(pipe_end, buffer, sizeof buffer)) != 0;)
        if (count > 0)
            fwrite(buffer, 1, (size_t)count, memory);
        else if (errno != EINTR)
            break;
    fclose(memory);
    close(pipe_end);
    return text;
}

/* Returns gnuplot's output on stdout, which the caller frees. NULL if gnuplot does not start or
   fails. */
static char *ask_gnuplot(char *const arguments[], int input, size_t *length)
{
    int answer[2], status = 0;
    pid_t child;
    if (pipe2(answer, O_CLOEXEC) != 0)
        return NULL;
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, input, STDIN_FILENO);
    posix_spawn_file_actions_adddup2(&actions, answer[1], STDOUT_FILENO);
    bool started = posix_spawnp(&child, "gnuplot", &actions, NULL, arguments, environ) == 0;
    posix_spawn_file_actions_destroy(&actions);
    close(answer[1]);
    char *text = read_all(answer[0], length);
    if (started && waitpid(child, &status, 0) == child && status == 0)
        return text;
    free(text);
    return NULL;
}

bool can_draw(void)
{
    char *const arguments[] = {"gnuplot", "--version", NULL};
    int nothing = open("/dev/null", O_RDONLY | O_CLOEXEC);
    size_t length;
    char *answer = ask_gnuplot(arguments, nothing, &length);
    bool answered = answer != NULL;
    free(answer);
    close(nothing);
    return answered;
}

/* ---- Pieces of the script -------------------------------------------------------------------- */

/* Inside single quotes, only the quote itself is special in gnuplot. */
static void quote(FILE *out, const char *before, const char *text, const char *after)
{
    fprintf(out, "'%s", before);
    for (; *text; text++) {
        if (*text == '\'')
            fputc('\'', out);
        fputc((unsigned char)*text < ' ' ? ' ' : *text, out);
    }
    fprintf(out, "%s'", after);
}

/* Both panels have the same top and bottom edge, and a legend below. */
static void write_settings(FILE *out)
{
    fputs("set terminal pngcairo size 1600,760 font 'DejaVu Sans,13' background '#ffffff'\n"
          "set multiplot\n"
          "set border 3 lc '#666666' lw 1\n"
          "set tics nomirror out scale 0.6 textcolor '#444444'\n"
          "set grid lc '#e4e4e4' lt 1 lw 1\n"
          "set tmargin at screen 0.91\nset bmargin at screen 0.2\n"
          "set key noenhanced textcolor '#333333' horizontal Left reverse samplen 2\n",
          out);
}

/* Sets a range around the losses, with ticks that fit a logarithmic axis. */
static void write_loss_axis(FILE *out, const history *h)
{
    double low = HUGE_VAL, high = 0;
    for (int64_t epoch = 0; epoch <= h->epochs; epoch++) {
        low = fmin(low, fmin(h->training[epoch], h->validation[epoch]));
        high = fmax(high, fmax(h->training[epoch], h->validation[epoch]));
    }
    fprintf(out, "set logscale y\nset yrange [%.9g:%.9g]\nset ytics (", low * 0.85, high * 1.15);
    for (double decade = 1e-9; decade < 1e9; decade *= 10)
        fprintf(out, "%s%.0g, %.0g, %.0g", decade > 1e-9 ? ", " : "", decade, 2 * decade,
                5 * decade);
    fputs(")\n", out);
}

static void write_losses(FILE *out, const history *h)
{
    fputs("$losses << END\n", out);
    for (int64_t epoch = 0; epoch <= h->epochs; epoch++)
        fprintf(out, "%lld %.9g %.9g\n", (long long)epoch, h->training[epoch],
                h->validation[epoch]);
    fprintf(out, "END\n$best << END\n%lld %.9g\nEND\n", (long long)h->best, h->validation[h->best]);
    write_loss_axis(out, h);
    fprintf(out,
            "set lmargin at screen 0.06\nset rmargin at screen 0.39\n"
            "set title 'Loss' font ',17'\nset xlabel 'epoch'\nset xrange [0:%lld]\n"
            "set key at screen 0.225,0.055 center maxrows 1 width -3\n"
            "plot $losses using 1:2 with lines lw 2.5 lc '#2166ac' title 'training', \\\n"
            "  $losses using 1:3 with lines lw 2.5 lc '#e08214' title 'validation', \\\n"
            "  $best using 1:2 with points pt 7 ps 1.6 lc '#b2182b' title 'kept: epoch %lld'\n"
            "unset logscale\nset ytics autofreq\nset xrange [*:*]\nset yrange [*:*]\n",
            (long long)(h->epochs ? h->epochs : 1), (long long)h->best);
}

/* ---- Two columns: the plane ------------------------------------------------------------------ */

enum { GRID_X = 320, GRID_Y = 240 };

typedef struct range {
    double low, high;
} range;

static range range_of(const table *t, int64_t column)
{
    const double *x = gr_data(t->x);
    range r = {HUGE_VAL, -HUGE_VAL};
    for (int64_t row = 0; row < t->rows; row++) {
        r.low = fmin(r.low, x[row * t->columns + column]);
        r.high = fmax(r.high, x[row * t->columns + column]);
    }
    double margin = r.high > r.low ? 0.06 * (r.high - r.low) : 1;
    return (range){r.low - margin, r.high + margin};
}

static double at_step(range r, int i, int steps)
{
    return r.low + (r.high - r.low) * i / (steps - 1);
}

/* Writes a matrix with one line for each y. gnuplot needs far more time to read one line for each
   point. */
static void write_plane(gr_context *ctx, FILE *out, const classifier *c, range x, range y)
{
    double *points = allocate(2 * GRID_X * GRID_Y, sizeof *points);
    for (int i = 0; i < GRID_X * GRID_Y; i++) {
        points[2 * i] = at_step(x, i % GRID_X, GRID_X);
        points[2 * i + 1] = at_step(y, i / GRID_X, GRID_Y);
    }
    gr_tensor *plane = gr_from_data(ctx, GR_F64, gr_shape(GRID_X * GRID_Y, 2), points);
    sample s = {GRID_X * GRID_Y, gr_cast(standardise(c, plane), GR_F32), NULL};
    gr_tensor *probability = probabilities_of(c->mlp, &s);
    give_up_error(ctx);
    const float *value = gr_data(probability);
    fputs("$plane << END\n", out);
    for (int i = 0; i < GRID_X * GRID_Y; i++)
        fprintf(out, "%.5g%c", (double)value[i], (i + 1) % GRID_X ? ' ' : '\n');
    fprintf(out, "END\nxof(i) = %.17g + %.17g * i\nyof(i) = %.17g + %.17g * i\n", x.low,
            (x.high - x.low) / (GRID_X - 1), y.low, (y.high - y.low) / (GRID_Y - 1));
    free(points);
}

static void write_points(FILE *out, const char *block, const table *t, row_list chosen,
                         unsigned char class)
{
    const double *x = gr_data(t->x);
    fprintf(out, "$%s << END\n", block);
    for (int64_t i = 0; i < chosen.count; i++)
        if (t->positive[chosen.at[i]] == class)
            fprintf(out, "%.9g %.9g\n", x[2 * chosen.at[i]], x[2 * chosen.at[i] + 1]);
    fputs("END\n", out);
}

static void write_plane_axes(FILE *out, const picture *p, range x, range y)
{
    fprintf(out, "set xrange [%.9g:%.9g]\nset yrange [%.9g:%.9g]\n", x.low, x.high, y.low, y.high);
    fputs("set title ", out);
    quote(out, "Probability of ", p->c->target, " = ");
    fputs(".", out);
    quote(out, "", p->c->labels.positive, "");
    fputs(" font ',16' noenhanced\nset xlabel ", out);
    quote(out, "", p->t->names[0], "");
    fputs(" noenhanced\nset ylabel ", out);
    quote(out, "", p->t->names[1], "");
    fputs(" noenhanced\n", out);
}

static void write_boundary(gr_context *ctx, FILE *out, const picture *p)
{
    range x = range_of(p->t, 0), y = range_of(p->t, 1);
    write_plane(ctx, out, p->c, x, y);
    write_points(out, "seen0", p->t, p->seen, 0);
    write_points(out, "seen1", p->t, p->seen, 1);
    write_points(out, "new0", p->t, p->held_out, 0);
    write_points(out, "new1", p->t, p->held_out, 1);
    double threshold = threshold_of(p->c);
    fprintf(out, "set contour base\nset cntrparam levels discrete %.9g\n", threshold);
    fputs("unset surface\n"
          "set table $boundary\nsplot $plane matrix using (xof($1)):(yof($2)):3\nunset table\n"
          "unset contour\nset surface\n"
          "set lmargin at screen 0.46\nset rmargin at screen 0.93\n"
          "set palette defined (0 '#5b9bd0', 0.25 '#b5d4ea', 0.5 '#fbfbfb', 0.75 '#fcd9b0', "
          "1 '#f0a04b')\n"
          "set cbrange [0:1]\nset cbtics 0.25 scale 0\nunset grid\n"
          "set colorbox user origin 0.942,0.2 size 0.012,0.71 noborder\n"
          "set key at screen 0.695,0.055 center maxrows 2 width 0\n",
          out);
    write_plane_axes(out, p, x, y);
    fputs("plot $plane matrix using (xof($1)):(yof($2)):3 with image notitle, \\\n"
          "  $seen0 with points pt 7 ps 0.5 lc '#2166ac' notitle, \\\n"
          "  $seen1 with points pt 7 ps 0.5 lc '#b35806' notitle, \\\n"
          "  $new0 with points pt 7 ps 1.25 lc '#ffffff' notitle, \\\n"
          "  $new1 with points pt 7 ps 1.25 lc '#ffffff' notitle, \\\n"
          "  $new0 with points pt 7 ps 0.95 lc '#2166ac' notitle, \\\n"
          "  $new1 with points pt 7 ps 0.95 lc '#b35806' notitle, \\\n"
          "  keyentry with points pt 7 ps 0.8 lc '#2166ac' title 'negative', \\\n"
          "  keyentry with points pt 7 ps 0.8 lc '#b35806' title 'positive', \\\n"
          "  keyentry with points pt 7 ps 1.4 lc '#2166ac' title 'negative, held out', \\\n"
          "  keyentry with points pt 7 ps 1.4 lc '#b35806' title 'positive, held out', \\\n"
          "  $boundary using 1:2 with lines lw 2.5 lc '#222222' ",
          out);
    fprintf(out, "title 'probability %.3g'\n", threshold);
}

/* ---- More columns: the ROC curve ------------------------------------------------------------- */

typedef struct scored {
    float probability, y;
} scored;

static int by_falling_probability(const void *left, const void *right)
{
    const scored *a = left, *b = right;
    return (a->probability < b->probability) - (a->probability > b->probability);
}

static void write_curve(FILE *out, scored *list, int64_t count, double positive)
{
    double hits = 0, alarms = 0, negative = (double)count - positive;
    qsort(list, (size_t)count, sizeof *list, by_falling_probability);
    fputs("$roc << END\n0 0\n", out);
    for (int64_t i = 0; i < count; i++) {
        hits += list[i].y;
        alarms += 1 - list[i].y;
        if (i + 1 == count || list[i + 1].probability != list[i].probability)
            fprintf(out, "%.9g %.9g\n", alarms / negative, hits / positive);
    }
    fputs("END\n", out);
}

static void write_roc(gr_context *ctx, FILE *out, const picture *p)
{
    gr_tensor *probability = probabilities_of(p->c->mlp, p->test);
    give_up_error(ctx);
    const float *value = gr_data(probability), *y = gr_data(p->test->y);
    scored *list = allocate(p->test->rows, sizeof *list);
    double positive = 0;
    for (int64_t i = 0; i < p->test->rows; i++) {
        list[i] = (scored){value[i], y[i]};
        positive += y[i];
    }
    write_curve(out, list, p->test->rows, positive);
    free(list);
    fputs("set lmargin at screen 0.46\nset rmargin at screen 0.93\n"
          "set title 'ROC curve of the held-out rows' font ',16'\n"
          "set xlabel 'false positive rate'\nset ylabel 'true positive rate'\n"
          "set xrange [-0.01:1]\nset yrange [0:1.01]\n"
          "set key at screen 0.695,0.055 center maxrows 2 width 0\n"
          "plot x with lines dt 2 lw 1.5 lc '#999999' title 'guessing', \\\n"
          "  $roc with filledcurves above x1 fs transparent solid 0.12 lc '#2166ac' notitle, \\\n"
          "  $roc with lines lw 3 lc '#2166ac' title 'this model'\n",
          out);
}

/* ---- The picture ----------------------------------------------------------------------------- */

static FILE *write_script(gr_context *ctx, const picture *p)
{
    FILE *script = tmpfile();
    if (!script)
        give_up("no temporary file for gnuplot: %s", strerror(errno));
    write_settings(script);
    write_losses(script, p->history);
    if (p->t->columns == 2)
        write_boundary(ctx, script, p);
    else
        write_roc(ctx, script, p);
    fputs("unset multiplot\n", script);
    if (fflush(script) != 0 || ferror(script))
        give_up("no temporary file for gnuplot: %s", strerror(errno));
    lseek(fileno(script), 0, SEEK_SET); /* gnuplot reads from the start */
    return script;
}

void draw(gr_context *ctx, const picture *p, const char *path)
{
    gr_scope_begin(ctx);
    gr_no_grad_begin(ctx);
    FILE *script = write_script(ctx, p);
    gr_no_grad_end(ctx);
    gr_scope_end(ctx);

    char *const arguments[] = {"gnuplot", "--default-settings", NULL};
    size_t length;
    char *png = ask_gnuplot(arguments, fileno(script), &length);
    fclose(script);
    if (!png || length == 0)
        give_up("gnuplot could not draw %s", path);
    if (gr_write_file(ctx, path, png, (int64_t)length) != GR_OK)
        give_up_error(ctx);
    free(png);
}
