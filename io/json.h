/* json.h - reads and prints the JSON of a safetensors header: objects, strings and whole numbers.
 *
 * A header has one known shape, so it needs no tree: the caller asks for what must come next. A
 * string is decoded inside the text, where it is never longer than its JSON form. So reading and
 * printing allocate no memory and cannot run out of it. A general parser costs up to forty times
 * the text, and jansson 2.14 goes on with a shorter text when it is out of memory: it then gives a
 * wrong number or a wrong name, and no error.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef GRADUS_IO_JSON_H
#define GRADUS_IO_JSON_H

#include <stdbool.h>
#include <stdint.h>

/* ---- UTF-8 ----------------------------------------------------------------------------------- */

/* Returns the bytes of the character at `text`, at most `left` of them. 0 if they are no UTF-8: an
   overlong form, a surrogate, more than U+10FFFF, or a part of a character. */
int gr_utf8_length(const char *text, int64_t left);

/* ---- Reading --------------------------------------------------------------------------------- */

/* A place in a text. After a failure `fault` says what is wrong at `at`. */
typedef struct gr_json {
    char *text;
    int64_t length, at;
    const char *fault; /* a static text */
} gr_json;

/* Skips blanks. True if the next byte is this one; then it is passed. */
bool gr_json_next(gr_json *j, char byte);

/* Does the same. If the next byte is another one, sets the fault. */
bool gr_json_expect(gr_json *j, char byte, const char *fault);

/* Reads a string. Writes it to *out with a NUL behind it, and moves *out behind the NUL. *out must
   be in the text, at most at the string. False for no string, for bytes that are not UTF-8, and for
   U+0000. */
bool gr_json_string(gr_json *j, char **out);

/* Reads a whole number from 0 to 2^63 - 1. */
bool gr_json_whole(gr_json *j, int64_t *value);

/* ---- Printing -------------------------------------------------------------------------------- */

/* Appends to `text`. If text is NULL, only counts the bytes. */
typedef struct gr_json_printer {
    char *text;
    int64_t length;
} gr_json_printer;

void gr_json_put(gr_json_printer *p, const char *text); /* as it is */
void gr_json_put_number(gr_json_printer *p, int64_t value);

/* Puts the string of two texts in quotes. The texts must be UTF-8. */
void gr_json_put_string(gr_json_printer *p, const char *first, const char *second);

#endif
