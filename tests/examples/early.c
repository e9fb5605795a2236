/* early.c - tests that what can be refused is refused before the work. expect_refusal wants one
 * line on stderr: a program that has begun to train has said more.
 *
 * SPDX-License-Identifier: MIT
 */
#include "support.h"

#include <criterion/criterion.h>
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

TestSuite(early, .init = enter, .fini = leave, .timeout = 120);

#define TRAIN "train --target y --positive 1 --batch 4 --epochs 2 --hidden 3 --data "

/* Returns the number of files whose names hold `part`. */
static int count_files(const char *part)
{
    int count = 0;
    DIR *here = opendir(".");
    cr_assert(here);
    for (struct dirent *entry; (entry = readdir(here));)
        count += strstr(entry->d_name, part) != NULL;
    closedir(here);
    return count;
}

/* A model file is UTF-8. This once trained all epochs and failed at the save. */
Test(early, a_latin1_column_name_is_refused)
{
    put_labelled("new.csv", (labelled){.header = "a,gr\xf6\xdf"
                                                 "e,y"});
    expect_refusal(TRAIN "new.csv --save old.safetensors", "new.csv:1: the name of column 2");
    expect_refusal(TRAIN "new.csv --save old.safetensors", "is not UTF-8");
    expect_success(TRAIN "new.csv --drop gr\xf6\xdf"
                         "e --save new.safetensors",
                   "out", "accuracy");
    put_labelled("new.csv", (labelled){.header = "a,gr\xc3\xb6\xc3\x9f"
                                                 "e,y"});
    expect_success(TRAIN "new.csv --save new.safetensors", "out", "accuracy");
}

Test(early, a_latin1_target_or_label_is_refused)
{
    put_labelled("new.csv", (labelled){.header = "a,b,gr\xf6\xdf"
                                                 "e"});
    expect_refusal("train --data new.csv --target gr\xf6\xdf"
                   "e --positive 1",
                   "new.csv:1: the name of column 3");
    put_labelled("new.csv", (labelled){.positive = "gro\xdf", .negative = "klein"});
    expect_refusal("train --data new.csv --target y --positive gro\xdf --save old.safetensors",
                   "new.csv:3:5: column 'y' has a label that is not UTF-8");
    expect_refusal("train --data new.csv --target y --positive klein --save old.safetensors",
                   "new.csv:3:5: column 'y' has a label that is not UTF-8");
}

Test(early, a_save_path_that_cannot_be_written_is_refused)
{
    put_labelled("new.csv", (labelled){0});
    cr_assert(mkdir("folder", 0700) == 0 && symlink("nothing/here", "nowhere") == 0);
    cr_assert(mkfifo("pipe", 0600) == 0 && symlink("loop", "loop") == 0);
    static const char *const paths[] = {"folder", "new/", "nowhere", "/dev/null",      "pipe",
                                        "loop",   "/",    "no/such", "new.csv/inside", ""};
    for (size_t i = 0; i < sizeof paths / sizeof *paths; i++) {
        char line[128];
        snprintf(line, sizeof line, TRAIN "new.csv --save=%s", paths[i]);
        expect_refusal(line, "--save: ");
        snprintf(line, sizeof line, TRAIN "new.csv --plot=%s", paths[i]);
        expect_refusal(line, "--plot: ");
        snprintf(line, sizeof line, "predict --out=%s", paths[i]);
        expect_refusal(line, "--out: ");
    }
    char line[512];
    snprintf(line, sizeof line, TRAIN "new.csv --save %0300d", 1);
    expect_refusal(line, "--save: ");
}

/* root may write everything. */
Test(early, a_file_or_folder_without_permission_is_refused)
{
    if (geteuid() == 0)
        cr_skip("skipped: root may write everything");
    put_labelled("new.csv", (labelled){0});
    put("read_only", "");
    cr_assert(chmod("read_only", 0400) == 0 && mkdir("closed", 0500) == 0);
    expect_refusal(TRAIN "new.csv --save read_only", "--save: cannot write 'read_only'");
    expect_refusal(TRAIN "new.csv --save closed/new", "--save: cannot write in ");
}

/* No file may grow above a limit, as on a full disk. */
Test(early, a_full_disk_is_found_before_the_training)
{
    put_labelled("new.csv", (labelled){0});
    put("keep", "the old model");
    struct rlimit before, small = {4096, 4096}; /* OpenMP of clang writes 1024 bytes */
    cr_assert(getrlimit(RLIMIT_FSIZE, &before) == 0);
    small.rlim_max = before.rlim_max;
    cr_assert(setrlimit(RLIMIT_FSIZE, &small) == 0);
    int status = run(TRAIN "new.csv --hidden 1024 --save new.safetensors");
    cr_assert(setrlimit(RLIMIT_FSIZE, &before) == 0);
    size_t size;
    char *said = get("err", &size);
    cr_expect(status == 2, "status %d, said: %s", status, said);
    cr_expect(strstr(said, "--save: ") && strstr(said, "File too large"), "%s", said);
    cr_expect(count_lines(said) == 1, "the work had begun: %s", said);
    cr_expect(count_files("safetensors") == 0);
    free(said);
}

Test(early, nothing_is_left_of_the_trial)
{
    put_labelled("new.csv", (labelled){0});
    put("target", "");
    cr_assert(symlink("target", "link") == 0);
    expect_success(TRAIN "new.csv --save link", "out", "accuracy");
    cr_expect(count_files("rehearsal") == 0 && count_files("gradus") == 0);
    struct stat file;
    cr_expect(lstat("link", &file) == 0 && S_ISLNK(file.st_mode), "the link was replaced");
    cr_expect(stat("target", &file) == 0 && file.st_size > 0, "the target was not written");
}

Test(early, an_output_that_is_an_input_is_refused)
{
    put_labelled("old.png", (labelled){0});
    put_labelled("new.csv", (labelled){0});
    train_good("new.csv", "1", "--quiet");
    cr_assert(symlink("new.csv", "link.csv") == 0);
    expect_refusal(TRAIN "new.csv --save new.csv", "--save: 'new.csv' is the file of --data");
    expect_refusal(TRAIN "new.csv --save ./new.csv", "--save: ");
    expect_refusal(TRAIN "new.csv --save link.csv", "--save: ");
    expect_refusal(TRAIN "new.csv --plot new.csv", "--plot: 'new.csv' is the file of --data");
    expect_refusal(TRAIN "new.csv --save both --plot ./both", "--plot: './both' is the file of ");
#define PREDICT "predict --data new.csv --model good.safetensors --out "
    expect_refusal(PREDICT "new.csv", "--out: 'new.csv' is the file of --data");
    expect_refusal(PREDICT "good.safetensors", "--out: 'good.safetensors' is the file of --model");
}

/* predict refuses a model of more columns. */
Test(early, more_columns_than_a_model_may_have_are_refused)
{
    FILE *file = fopen("wide.csv", "wb");
    cr_assert(file);
    fputs("y", file);
    for (int i = 0; i < 65537; i++)
        fprintf(file, ",c%d", i);
    fputs("\n", file);
    cr_assert(fclose(file) == 0);
    expect_refusal(TRAIN "wide.csv", "wide.csv: 65537 columns to learn from; 65536 are possible");
}

/* Its metadata states three hidden units, and its tensors have another shape. */
Test(early, a_model_of_another_shape_is_refused)
{
    put_labelled("new.csv", (labelled){0});
    train_good("new.csv", "1", "--quiet");
    static const char *const edits[][2] = {{"\"hidden\":\"3\"", "\"hidden\":\"4\""},
                                           {"\"columns\":\"2\"", "\"columns\":\"1\""},
                                           {"\"columns\":\"2\"", "\"columns\":\"3\""},
                                           {"\"negative\"", "\"nogative\""}};
    for (size_t i = 0; i < sizeof edits / sizeof *edits; i++) {
        char line[256];
        snprintf(line, sizeof line, "sed 's/%s/%s/' good.safetensors > bad.safetensors",
                 edits[i][0], edits[i][1]);
        cr_assert(system(line) == 0);
        cr_expect(!same_files("good.safetensors", "bad.safetensors"), "%s is not there",
                  edits[i][0]);
        expect_refusal("predict --model bad.safetensors --data new.csv", "bad.safetensors: ");
    }
}
