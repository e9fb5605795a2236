/* json.c - reads and prints the JSON of a safetensors header.
 *
 * The grammar is that of RFC 8259, but numbers are whole and not negative, and no string may hold
 * U+0000, because names are C strings.
 *
 * SPDX-License-Identifier: MIT
 */
#include "io/json.h"

#include <stdio.h>
#include <string.h>

int gr_utf8_length(const char *text, int64_t left)
{
    static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
    const unsigned char *at = (const unsigned char *)text;
    int length = *at < 0x80 ? 1 : *at < 0xc0 ? 0 : *at < 0xe0 ? 2 : *at < 0xf0 ? 3 : 4;
    if (length <= 1)
        return length;
    if (*at >= 0xf8 || length > left)
        return 0;
    uint32_t value = *at & (0x7f >> length);
    for (int i = 1; i < length; i++) {
        if ((at[i] & 0xc0) != 0x80)
            return 0;
        value = value << 6 | (at[i] & 0x3f);
    }
    bool surrogate = value >= 0xd800 && value < 0xe000;
    return value < least[length] || value > 0x10ffff || surrogate ? 0 : length;
}

/* ---- Reading --------------------------------------------------------------------------------- */

static bool wrong(gr_json *j, const char *fault)
{
    j->fault = fault;
    return false;
}

static bool is_digit(char byte) { return byte >= '0' && byte <= '9'; }

bool gr_json_next(gr_json *j, char byte)
{
    while (j->at < j->length && memchr(" \t\n\r", j->text[j->at], 4) != NULL)
        j->at++;
    bool found = j->at < j->length && j->text[j->at] == byte;
    j->at += found;
    return found;
}

bool gr_json_expect(gr_json *j, char byte, const char *fault)
{
    return gr_json_next(j, byte) || wrong(j, fault);
}

/* Reads the four hexadecimal digits of \uXXXX. Returns -1 for anything else. */
static int32_t take_hex(gr_json *j)
{
    int32_t value = 0;
    if (j->length - j->at < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        char byte = j->text[j->at + i];
        bool lower = byte >= 'a' && byte <= 'f', upper = byte >= 'A' && byte <= 'F';
        if (!is_digit(byte) && !lower && !upper)
            return -1;
        value = value * 16 + (is_digit(byte) ? byte - '0' : (byte | 0x20) - 'a' + 10);
    }
    j->at += 4;
    return value;
}

/* Writes a character as UTF-8. */
static char *put_character(char *to, int32_t value)
{
    if (value < 0x80) {
        *to++ = (char)value;
        return to;
    }
    int more = value < 0x800 ? 1 : value < 0x10000 ? 2 : 3;
    *to++ = (char)((0xf00 >> (more + 1) & 0xff) | value >> 6 * more);
    for (more--; more >= 0; more--)
        *to++ = (char)(0x80 | (value >> 6 * more & 0x3f));
    return to;
}

/* Reads \uXXXX after its u, or the two of them that stand for one character above U+FFFF. */
static bool take_unicode(gr_json *j, char **to)
{
    int32_t value = take_hex(j);
    if (value >= 0xd800 && value < 0xdc00) {
        bool second = j->length - j->at >= 2 && memcmp(j->text + j->at, "\\u", 2) == 0;
        j->at += second ? 2 : 0;
        int32_t low = second ? take_hex(j) : -1;
        value =
            low >= 0xdc00 && low < 0xe000 ? 0x10000 + ((value & 0x3ff) << 10 | (low & 0x3ff)) : -1;
    }
    if (value < 0 || (value >= 0xd800 && value < 0xe000))
        return wrong(j, "an escape that is no character");
    if (value == 0)
        return wrong(j, "a NUL in a string");
    *to = put_character(*to, value);
    return true;
}

/* Reads an escape after its backslash. */
static bool take_escape(gr_json *j, char **to)
{
    static const char names[] = "\"\\/bfnrt", values[] = "\"\\/\b\f\n\r\t";
    char byte = j->at < j->length ? j->text[j->at++] : '\0';
    if (byte == 'u')
        return take_unicode(j, to);
    const char *name = byte == '\0' ? NULL : strchr(names, byte);
    if (name == NULL)
        return wrong(j, "an escape that JSON does not have");
    *(*to)++ = values[name - names];
    return true;
}

static bool take_character(gr_json *j, char **to)
{
    if ((unsigned char)j->text[j->at] < ' ')
        return wrong(j, "a control character in a string");
    int length = gr_utf8_length(j->text + j->at, j->length - j->at);
    if (length == 0)
        return wrong(j, "a byte that is not UTF-8");
    memmove(*to, j->text + j->at, (size_t)length);
    *to += length;
    j->at += length;
    return true;
}

bool gr_json_string(gr_json *j, char **out)
{
    char *to = *out;
    if (!gr_json_expect(j, '"', "a string is expected"))
        return false;
    while (j->at < j->length) {
        char byte = j->text[j->at];
        if (byte == '"') {
            j->at++;
            *to = '\0';
            *out = to + 1;
            return true;
        }
        j->at += byte == '\\';
        if (!(byte == '\\' ? take_escape(j, &to) : take_character(j, &to)))
            return false;
    }
    return wrong(j, "a string that does not end");
}

bool gr_json_whole(gr_json *j, int64_t *value)
{
    static const char fault[] = "a whole number from 0 to 2^63 - 1 is expected";
    *value = 0;
    if (gr_json_next(j, '0')) /* no other digit may follow, and no separator is a digit */
        return true;
    int64_t first = j->at;
    for (; j->at < j->length && is_digit(j->text[j->at]); j->at++) {
        if (__builtin_mul_overflow(*value, 10, value) ||
            __builtin_add_overflow(*value, j->text[j->at] - '0', value))
            return wrong(j, fault);
    }
    return j->at > first || wrong(j, fault);
}

/* ---- Printing -------------------------------------------------------------------------------- */

static void put_bytes(gr_json_printer *p, const char *bytes, size_t count)
{
    if (p->text != NULL)
        memcpy(p->text + p->length, bytes, count);
    p->length += (int64_t)count;
}

void gr_json_put(gr_json_printer *p, const char *text) { put_bytes(p, text, strlen(text)); }

void gr_json_put_number(gr_json_printer *p, int64_t value)
{
    char digits[24];
    snprintf(digits, sizeof digits, "%lld", (long long)value);
    gr_json_put(p, digits);
}

static void put_escaped(gr_json_printer *p, const char *text)
{
    static const char names[] = "\"\\bfnrt", values[] = "\"\\\b\f\n\r\t";
    for (; *text != '\0'; text++) {
        const char *value = strchr(values, *text);
        char escape[8];
        if (value != NULL) {
            snprintf(escape, sizeof escape, "\\%c", names[value - values]);
            gr_json_put(p, escape);
        } else if ((unsigned char)*text < ' ') {
            snprintf(escape, sizeof escape, "\\u%04X", (unsigned)*text);
            gr_json_put(p, escape);
        } else {
            put_bytes(p, text, 1);
        }
    }
}

void gr_json_put_string(gr_json_printer *p, const char *first, const char *second)
{
    gr_json_put(p, "\"");
    put_escaped(p, first);
    put_escaped(p, second);
    gr_json_put(p, "\"");
}
