/* guess.c - says what a file of another format seems to be, from its first bytes.
 *
 * Only messages use this: a wrong guess can mislead, but never refuses a file that could be read.
 *
 * SPDX-License-Identifier: MIT
 */
#include "io/file.h"

#include <string.h>
#include <strings.h>

typedef struct sign {
    int at, length;
    const char *bytes, *what;
} sign;

static const sign signs[] = {
    {0, 6, "\x93NUMPY", "a NumPy array (.npy)"},
    {0, 4, "PK\3\4", "a zip archive, such as .pt of PyTorch, .npz or .xlsx"},
    {0, 2, "\x1f\x8b", "compressed by gzip"},
    {4, 6, "1AY&SY", "compressed by bzip2"},
    {0, 6,
     "\xfd"
     "7zXZ\0",
     "compressed by xz"},
    {0, 4, "\x28\xb5\x2f\xfd", "compressed by zstd"},
    {0, 8, "\x89PNG\r\n\x1a\n", "a PNG picture"},
    {0, 3, "\xff\xd8\xff", "a JPEG picture"},
    {0, 8, "\x89HDF\r\n\x1a\n", "an HDF5 file, such as .h5 of Keras"},
    {0, 4, "GGUF", "a GGUF file"},
    {4, 4, "TFL3", "a TensorFlow Lite model"},
    {0, 4, "PAR1", "a Parquet table"},
    {0, 6, "ARROW1", "an Arrow table"},
    {0, 15, "SQLite format 3", "an SQLite database"},
    {0, 5, "%PDF-", "a PDF document"},
    {0, 4,
     "\x7f"
     "ELF",
     "a program (ELF)"},
    {257, 5, "ustar", "a tar archive"},
    {0, 2, "\x80\2", "a Python pickle, such as an old .pt of PyTorch"},
    {0, 2, "\x80\3", "a Python pickle, such as an old .pt of PyTorch"},
    {0, 3, "\x80\4\x95", "a Python pickle"},
    {0, 3, "\x80\5\x95", "a Python pickle"},
    {0, 2, "\xff\xfe", "text in UTF-16"},
    {0, 2, "\xfe\xff", "text in UTF-16"},
    {0, 26, "version https://git-lfs.gi", "a pointer of Git LFS, in place of the file itself"},
};

/* True if the text begins with a word in any case. */
static bool begins(const char *text, int64_t count, const char *word)
{
    return count >= (int64_t)strlen(word) && strncasecmp(text, word, strlen(word)) == 0;
}

/* Returns what a text is by its first word. */
static const char *guess_text(const char *text, int64_t count)
{
    for (; count > 0 && memchr(" \t\r\n", *text, 4) != NULL; count--)
        text++;
    if (begins(text, count, "<!doctype html") || begins(text, count, "<html"))
        return "an HTML page";
    if (begins(text, count, "<?xml"))
        return "an XML document";
    return begins(text, count, "{") || begins(text, count, "[") ? "JSON text" : NULL;
}

const char *gr_guess(const char *bytes, int64_t count)
{
    for (size_t i = 0; i < sizeof signs / sizeof *signs; i++) {
        const sign *s = &signs[i];
        if (count >= s->at + s->length && memcmp(bytes + s->at, s->bytes, (size_t)s->length) == 0)
            return s->what;
    }
    return guess_text(bytes, count);
}

bool gr_is_text(const char *bytes, int64_t count)
{
    int64_t i = 0;
    while (i < count && ((unsigned char)bytes[i] >= ' ' || memchr("\t\r\n", bytes[i], 3) != NULL))
        i++;
    return i == count && count > 0;
}
