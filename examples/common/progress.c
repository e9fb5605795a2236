/* progress.c - shows the progress of the training. Everything goes to stderr, because stdout is for
 * results.
 *
 * SPDX-License-Identifier: MIT
 */
#include "progress.h"

#include <langinfo.h>
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* Width of the line's text without the bar, and the limits of the bar's width. */
enum { TEXT_WIDTH = 62, LEAST_WIDTH = 8, MOST_WIDTH = 40 };

/* Asks a separate locale. The program itself keeps "C", so that numbers are read with a point. */
static bool locale_is_utf8(void)
{
    locale_t users = newlocale(LC_CTYPE_MASK, "", (locale_t)0);
    if (!users)
        return false;
    bool utf8 = strcmp(nl_langinfo_l(CODESET, users), "UTF-8") == 0;
    freelocale(users);
    return utf8;
}

progress progress_begin(int64_t epochs, bool quiet)
{
    progress p = {.epochs = epochs, .quiet = quiet, .terminal = isatty(STDERR_FILENO)};
    p.unicode = locale_is_utf8();
    clock_gettime(CLOCK_MONOTONIC, &p.start);
    return p;
}

static double seconds_since(struct timespec start)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)(now.tv_sec - start.tv_sec) + (double)(now.tv_nsec - start.tv_nsec) / 1e9;
}

static int bar_width(void)
{
    struct winsize window = {0};
    ioctl(STDERR_FILENO, TIOCGWINSZ, &window);
    int width = window.ws_col ? window.ws_col - TEXT_WIDTH : MOST_WIDTH;
    return width < LEAST_WIDTH ? LEAST_WIDTH : width > MOST_WIDTH ? MOST_WIDTH : width;
}

/* Draws full cells, one cell of up to seven eighths, and a light track for the rest. */
static void draw_bar(const progress *p, int width, double done)
{
    static const char *const eighths[] = {"", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
    int filled = (int)(done * width * 8), at = filled / 8;
    fputs(p->unicode ? "\033[36m" : "[", stderr);
    for (int i = 0; i < at; i++)
        fputs(p->unicode ? "█" : "#", stderr);
    if (p->unicode && filled % 8) {
        fputs(eighths[filled % 8], stderr);
        at++;
    }
    fputs(p->unicode ? "\033[90m" : "", stderr);
    for (; at < width; at++)
        fputs(p->unicode ? "·" : ".", stderr);
    fputs(p->unicode ? "\033[0m" : "]", stderr);
}

static void draw_line(const progress *p, int64_t epoch, double loss, double accuracy)
{
    double done = (double)epoch / (double)p->epochs, seconds = seconds_since(p->start);
    fputs("\r\033[K", stderr);
    draw_bar(p, bar_width(), done);
    fprintf(stderr, " %lld/%lld  loss %.4f  accuracy %.3f", (long long)epoch, (long long)p->epochs,
            loss, accuracy);
    if (epoch < p->epochs)
        fprintf(stderr, "  %.0f s left", seconds / done - seconds);
    else
        fprintf(stderr, "  %.1f s", seconds);
    fflush(stderr);
}

void progress_show(const progress *p, int64_t epoch, double loss, double accuracy)
{
    if (p->quiet)
        return;
    if (p->terminal)
        draw_line(p, epoch, loss, accuracy);
    else if (epoch * 10 / p->epochs != (epoch - 1) * 10 / p->epochs)
        fprintf(stderr, "epoch %lld/%lld  loss %.4f  accuracy %.3f\n", (long long)epoch,
                (long long)p->epochs, loss, accuracy);
}

void progress_end(const progress *p)
{
    if (p->terminal && !p->quiet)
        fputc('\n', stderr);
}
