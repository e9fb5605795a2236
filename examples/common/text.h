/* text.h - the text of names and labels, as a person means it.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef EXAMPLES_TEXT_H
#define EXAMPLES_TEXT_H

#include <stdbool.h>

/* Returns a copy of the text without the blanks and tabs around it. The caller frees it. */
char *trimmed(const char *text);

/* True if two labels mean the same class: equal texts, without the blanks around them, or equal
   numbers, such as 1 and 1.0. Upper case and lower case are different. */
bool same_label(const char *left, const char *right);

/* True if the text is UTF-8. A model file can hold no other text. */
bool is_utf8(const char *text);

#endif
