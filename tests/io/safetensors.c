/* safetensors.c - tests of the writer and the reader of safetensors, also with hostile files.
 *
 * SPDX-License-Identifier: MIT
 */
#include "temp.h"

#include <signal.h>
#include <sys/wait.h>
#include <time.h>

TestSuite(safetensors, .init = begin, .fini = end);

/* ---- Helpers --------------------------------------------------------------------------------- */

/* Writes a file from its parts: a stated length, a header, and data. */
static void put_parts(uint64_t stated, const void *header, size_t length, const void *data,
                      size_t count)
{
    char *bytes = malloc(8 + length + count);
    memcpy(bytes, &stated, 8);
    memcpy(bytes + 8, header, length);
    memcpy(bytes + 8 + length, data, count);
    put_file("t", bytes, 8 + length + count);
    free(bytes);
}

static const char zeros[256];

static void put_header(const char *header, size_t data_count)
{
    put_parts(strlen(header), header, strlen(header), zeros, data_count);
}

static void expect_refused(const char *message)
{
    int64_t before = heap.live;
    gr_archive *archive = gr_load(ctx, "t");
    cr_expect_null(archive);
    cr_expect_eq(heap.live, before);
    expect_error(GR_ERROR_FORMAT, message);
    gr_archive_free(archive);
}

static void refuses(const char *header, size_t data_count, const char *message)
{
    put_header(header, data_count);
    expect_refused(message);
}

/* Checks that the header is refused as JSON, at this byte. */
static void refuses_json(const char *header, int at, const char *fault)
{
    char message[256];
    snprintf(message, sizeof message,
             "load: t: header is not the JSON of this format at byte %d: %s", at, fault);
    refuses(header, 0, message);
}

static gr_archive *load(void)
{
    gr_archive *archive = gr_load(ctx, "t");
    cr_assert_not_null(archive, "%s", gr_error_message(ctx));
    return archive;
}

static void accepts(const char *header, size_t data_count, int64_t tensors)
{
    put_header(header, data_count);
    gr_archive *archive = load();
    cr_expect_eq(gr_archive_count(archive), tensors);
    gr_archive_free(archive);
}

/* ---- Writing and reading --------------------------------------------------------------------- */

/* Makes tensors of every dtype with different bytes: also a 0-d one, empty ones, and one with 8
   dimensions. */
static int64_t make_tensors(gr_named_tensor *tensors)
{
    static const float f32[] = {1.5f, -0.0f, 1e-45f, 3.4e38f, 0, -7};
    static const double f64[] = {0.1, -1e300};
    static const uint16_t halves[] = {0x3c00, 0x7e00, 0x8001};
    static const int32_t i32[] = {INT32_MIN, INT32_MAX, 5, 6};
    static const int64_t i64[] = {INT64_MIN, INT64_MAX, 9007199254740993};
    static const uint8_t u8[] = {0, 255, 7};
    static const bool bools[] = {true, false, true};
    const gr_named_tensor all[] = {
        {"u8", gr_from_data(ctx, GR_U8, gr_shape(3), u8)},
        {"matrix", gr_from_data(ctx, GR_F32, gr_shape(2, 3), f32)},
        {"f64", gr_from_data(ctx, GR_F64, gr_shape(2), f64)},
        {"f16", gr_from_data(ctx, GR_F16, gr_shape(3), halves)},
        {"bf16", gr_from_data(ctx, GR_BF16, gr_shape(3, 1), halves)},
        {"i32", gr_from_data(ctx, GR_I32, gr_shape(2, 2), i32)},
        {"i64", gr_from_data(ctx, GR_I64, gr_shape(3), i64)},
        {"bool", gr_from_data(ctx, GR_BOOL, gr_shape(3), bools)},
        {"scalar", gr_from_data(ctx, GR_F64, gr_shape(), f64)},
        {"empty", gr_zeros(ctx, GR_F32, gr_shape(3, 0, 2))},
        {"empty too", gr_zeros(ctx, GR_I64, gr_shape(0))},
        {"deep \"\\/\n\t\xe2\x82\xac",
         gr_from_data(ctx, GR_U8, gr_shape(1, 1, 1, 3, 1, 1, 1, 1), u8)},
    };
    memcpy(tensors, all, sizeof all);
    return sizeof all / sizeof *all;
}

static void expect_same(gr_tensor *a, gr_tensor *b, const char *name)
{
    cr_assert(!gr_failed(a) && !gr_failed(b), "%s: %s", name, gr_error_message(ctx));
    cr_expect_eq(gr_dtype_of(a), gr_dtype_of(b));
    cr_expect_eq(gr_ndim(a), gr_ndim(b));
    for (int axis = 0; axis < gr_ndim(a); axis++)
        cr_expect_eq(gr_size(a, axis), gr_size(b, axis));
    size_t count = (size_t)(gr_numel(a) * gr_dtype_size(gr_dtype_of(a)));
    cr_expect(count == 0 || memcmp(gr_data(a), gr_data(b), count) == 0, "%s", name);
}

Test(safetensors, gives_back_what_was_saved)
{
    gr_named_tensor tensors[16];
    int64_t count = make_tensors(tensors);
    const gr_metadata metadata[] = {{"step", "12"}, {"", "of an empty key"}, {"note", ""}};
    cr_assert_eq(gr_save(ctx, "t", count, tensors, 3, metadata), GR_OK, "%s",
                 gr_error_message(ctx));
    gr_archive *archive = load();
    cr_expect_eq(gr_archive_count(archive), count);
    for (int64_t i = 0; i < count; i++)
        expect_same(gr_archive_tensor(archive, tensors[i].name), tensors[i].tensor,
                    tensors[i].name);
    cr_expect_str_eq(gr_archive_metadata(archive, "step"), "12");
    cr_expect_str_eq(gr_archive_metadata(archive, ""), "of an empty key");
    cr_expect_str_eq(gr_archive_metadata(archive, "note"), "");
    cr_expect_str_eq(gr_archive_metadata(archive, "crc32.empty"), "00000000");
    cr_expect_null(gr_archive_metadata(archive, "none"));
    cr_expect_null(gr_archive_name(archive, -1));
    cr_expect_null(gr_archive_name(archive, count));
    gr_archive_free(archive);
}

/* The expected bytes are written by hand from the format, so that writer and reader cannot share a
   mistake. The checksum is that of "123456789", which every description of CRC-32 gives. */
Test(safetensors, writes_the_bytes_of_the_format)
{
    const gr_named_tensor tensors[] = {
        {"b", gr_from_data(ctx, GR_U8, gr_shape(9), "123456789")},
        {"a", gr_from_data(ctx, GR_I32, gr_shape(), (const int32_t[]){258})},
    };
    static const char header[] =
        "{\"__metadata__\":{\"k\":\"v\",\"crc32.a\":\"8a8f7da0\",\"crc32.b\":\"cbf43926\"},"
        "\"a\":{\"dtype\":\"I32\",\"shape\":[],\"data_offsets\":[0,4]},"
        "\"b\":{\"dtype\":\"U8\",\"shape\":[9],\"data_offsets\":[4,13]}}";
    cr_assert_eq(gr_save(ctx, "t", 2, tensors, 1, (gr_metadata[]){{"k", "v"}}), GR_OK);
    size_t count, padded = (sizeof header - 1 + 7) / 8 * 8;
    char *bytes = get_file("t", &count);
    cr_expect_eq(count, 8 + padded + 13);
    cr_expect_eq(memcmp(bytes, &padded, 8), 0);
    cr_expect_eq(memcmp(bytes + 8, header, sizeof header - 1), 0, "%.*s", (int)padded, bytes + 8);
    for (size_t i = sizeof header - 1; i < padded; i++)
        cr_expect_eq(bytes[8 + i], ' ');
    cr_expect_eq(memcmp(bytes + 8 + padded,
                        "\2\1\0\0"
                        "123456789",
                        13),
                 0);
    free(bytes);
}

Test(safetensors, writes_the_same_bytes_in_any_order)
{
    gr_named_tensor tensors[16];
    gr_metadata metadata[] = {{"b", "1"}, {"a", "2"}};
    int64_t tensor_count = make_tensors(tensors);
    size_t count;
    cr_assert_eq(gr_save(ctx, "t", tensor_count, tensors, 2, metadata), GR_OK);
    char *bytes = get_file("t", &count);
    for (int round = 0; round < 3; round++) {
        const gr_named_tensor first = tensors[0];
        memmove(tensors, tensors + 1, (size_t)(tensor_count - 1) * sizeof *tensors);
        tensors[tensor_count - 1] = first;
        const gr_metadata other = metadata[0];
        metadata[0] = metadata[1];
        metadata[1] = other;
        cr_assert_eq(gr_save(ctx, "again", tensor_count, tensors, 2, metadata), GR_OK);
        size_t again_count;
        char *again = get_file("again", &again_count);
        cr_expect_eq(again_count, count);
        cr_expect_eq(memcmp(again, bytes, count), 0);
        free(again);
    }
    free(bytes);
}

Test(safetensors, saves_every_kind_of_character)
{
    static const char *const names[] = {"a",
                                        "\x7f",
                                        "\xc2\x80",
                                        "\xdf\xbf",
                                        "\xe0\xa0\x80",
                                        "\xed\x9f\xbf",
                                        "\xee\x80\x80",
                                        "\xef\xbf\xbf",
                                        "\xf0\x90\x80\x80",
                                        "\xf4\x8f\xbf\xbf",
                                        "\x01\x1f"};
    for (int i = 0; i < 11; i++) {
        const gr_named_tensor tensor = {names[i], gr_ones(ctx, GR_F32, gr_shape())};
        cr_assert_eq(gr_save(ctx, "t", 1, &tensor, 0, NULL), GR_OK, "%s", gr_error_message(ctx));
        gr_archive *archive = load();
        cr_expect_str_eq(gr_archive_name(archive, 0), names[i]);
        gr_archive_free(archive);
    }
}

Test(safetensors, writes_larger_dtypes_first_and_aligned)
{
    gr_named_tensor tensors[16];
    cr_assert_eq(gr_save(ctx, "t", make_tensors(tensors), tensors, 0, NULL), GR_OK);
    gr_archive *archive = load();
    int64_t last = 8;
    for (int64_t i = 0; i < gr_archive_count(archive); i++) {
        gr_tensor *x = gr_archive_tensor(archive, gr_archive_name(archive, i));
        cr_expect_leq(gr_dtype_size(gr_dtype_of(x)), last);
        last = gr_dtype_size(gr_dtype_of(x));
    }
    gr_archive_free(archive);
}

Test(safetensors, saves_nothing_at_all)
{
    cr_assert_eq(gr_save(ctx, "t", 0, NULL, 0, NULL), GR_OK);
    size_t count;
    char *bytes = get_file("t", &count);
    cr_expect_eq(count, 16);
    cr_expect_eq(memcmp(bytes, "\10\0\0\0\0\0\0\0{}      ", 16), 0);
    free(bytes);
    gr_archive *archive = load();
    cr_expect_eq(gr_archive_count(archive), 0);
    cr_expect_null(gr_archive_metadata(archive, "k"));
    cr_expect_eq(gr_archive_read(archive, 0, NULL), GR_OK);
    cr_expect(gr_failed(gr_archive_tensor(archive, "x")));
    expect_error(GR_ERROR_ARGUMENT, "archive_tensor: t: there is no tensor 'x'");
    gr_archive_free(archive);
}

/* A view is saved as the elements that it shows, and is filled when it is read. */
Test(safetensors, saves_and_reads_strided_tensors)
{
    static const float numbers[] = {1, 2, 3, 4, 5, 6}, turned[] = {1, 4, 2, 5, 3, 6};
    gr_tensor *x = gr_from_data(ctx, GR_F32, gr_shape(2, 3), numbers);
    gr_tensor *view = gr_from_data(ctx, GR_F32, gr_shape(3, 2), zeros);
    /* This transposes without gr_transpose, because the test must not depend on ops. */
    const gr_dims shape = gr_shape(3, 2), strides = gr_shape(1, 3);
    gr_tensor *transposed = gr_restrided(ctx->scope, x, &shape, &strides, 0);
    const gr_named_tensor out = {"x", transposed}, in = {"x", view};
    cr_assert_eq(gr_save(ctx, "t", 1, &out, 0, NULL), GR_OK, "%s", gr_error_message(ctx));
    gr_archive *archive = load();
    cr_assert_eq(gr_archive_read(archive, 1, &in), GR_OK, "%s", gr_error_message(ctx));
    cr_expect_eq(memcmp(gr_data(view), turned, sizeof turned), 0);

    memset(gr_data_mutable(x), 0, sizeof numbers);
    cr_assert_eq(gr_archive_read(archive, 1, &out), GR_OK, "%s", gr_error_message(ctx));
    cr_expect_eq(memcmp(gr_data(x), numbers, sizeof numbers), 0);

    /* An axis of one element may have any stride. */
    gr_tensor *row = gr_zeros(ctx, GR_F32, gr_shape(3));
    const gr_dims one_row = gr_shape(1, 3), still = gr_shape(0, 1);
    const gr_named_tensor single = {
        "x",
        gr_restrided(ctx->scope, gr_from_data(ctx, GR_F32, one_row, numbers), &one_row, &still, 0)};
    const gr_named_tensor to_row = {"x", gr_restrided(ctx->scope, row, &one_row, &still, 0)};
    cr_assert_eq(gr_save(ctx, "row", 1, &single, 0, NULL), GR_OK, "%s", gr_error_message(ctx));
    gr_archive *rows = gr_load(ctx, "row");
    cr_expect_eq(gr_archive_read(rows, 1, &to_row), GR_OK, "%s", gr_error_message(ctx));
    cr_expect_eq(memcmp(gr_data(row), numbers, 3 * sizeof *numbers), 0);
    gr_archive_free(rows);

    const gr_dims repeated = gr_shape(1, 0);
    const gr_named_tensor bad = {"x", gr_restrided(ctx->scope, x, &shape, &repeated, 0)};
    cr_expect_eq(gr_archive_read(archive, 1, &bad), GR_ERROR_ARGUMENT);
    expect_error(GR_ERROR_ARGUMENT, "archive_read: elements of tensor 'x' share memory");
    gr_archive_free(archive);
}

Test(safetensors, reads_files_of_others)
{
    accepts("{\"w\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}  ", 8, 1);
    accepts("{\"w\":{\"shape\":[2],\"data_offsets\":[0,8],\"dtype\":\"F32\"}}", 8, 1);
    accepts("{ \"w\" : {\n\"dtype\":\"F32\", \"shape\":[ 2 ], \"data_offsets\":[0 ,8]} }", 8, 1);
    accepts("{\"__metadata__\":{\"format\":\"pt\"},"
            "\"b\":{\"dtype\":\"F32\",\"shape\":[],\"data_offsets\":[8,12]},"
            "\"e\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[8,8]},"
            "\"a\":{\"dtype\":\"F64\",\"shape\":[1],\"data_offsets\":[0,8]}}",
            12, 3);
    accepts("{\"\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[0,1]}}", 1, 1);
    accepts("{\"e\":{\"dtype\":\"U8\",\"shape\":[4611686018427387904,0],\"data_offsets\":[0,0]}}",
            0, 1);
    accepts("{}", 0, 0);
    accepts("{\"__metadata__\":{}}", 0, 0);
}

/* ---- Attacks --------------------------------------------------------------------------------- */

#define F32_2 "\"dtype\":\"F32\",\"shape\":[2]"
#define W     "tensor 'w'"

Test(safetensors, refuses_wrong_lengths)
{
    static const char header[] = "{\"w\":{" F32_2 ",\"data_offsets\":[0,8]}}";
    const size_t length = sizeof header - 1;
    put_file("t", "", 0);
    expect_refused("load: t: has 0 bytes, too few for a header's length");
    put_file("t", header, 7);
    expect_refused("load: t: is no safetensors file; it seems to be JSON text");
    put_file("t", zeros, 7);
    expect_refused("load: t: has 7 bytes, too few for a header's length");
    put_parts(length + 9, header, length, zeros, 8);
    expect_refused("load: t: states a header of 63 bytes, but only 62 follow");
    put_parts(100000001, header, length, zeros, 8);
    expect_refused("load: t: states a header of 100000001 bytes, more than 100000000");
    put_parts(100000000, header, length, zeros, 8);
    expect_refused("load: t: states a header of 100000000 bytes, but only 62 follow");
    put_parts(UINT64_MAX, header, length, zeros, 8);
    expect_refused("load: t: states a header of 18446744073709551615 bytes, more than 100000000");
    put_parts(UINT64_MAX - 7, header, length, zeros, 8);
    expect_refused("load: t: states a header of 18446744073709551608 bytes, more than 100000000");
    put_parts(0, header, 0, zeros, 0);
    expect_refused("load: t: header does not begin with a brace");
    put_parts(length - 1, header, length, zeros, 8);
    expect_refused("load: t: header is not the JSON of this format at byte 53: ',' or '}' is "
                   "expected");
}

Test(safetensors, refuses_every_truncation)
{
    gr_named_tensor tensors[16];
    cr_assert_eq(gr_save(ctx, "t", make_tensors(tensors), tensors, 0, NULL), GR_OK);
    size_t count;
    char *bytes = get_file("t", &count);
    for (size_t length = 0; length < count; length++) {
        put_file("t", bytes, length);
        cr_expect_null(gr_load(ctx, "t"));
        cr_expect_eq(gr_error(ctx), GR_ERROR_FORMAT);
        gr_error_clear(ctx);
    }
    free(bytes);
}

Test(safetensors, refuses_what_is_no_json)
{
    refuses("x{}", 0, "load: t: header does not begin with a brace");
    refuses(" {}", 0, "load: t: header does not begin with a brace");
    refuses("[]", 0, "load: t: header does not begin with a brace");
    refuses_json("{}\n", 2, "only spaces may follow the header's end");
    refuses_json("{} {}", 3, "only spaces may follow the header's end");
    refuses_json("{", 1, "a string is expected");
    refuses_json("{,}", 1, "a string is expected");
    refuses_json("{\"__metadata__\":{},}", 19, "a string is expected");
    refuses_json("{w:1}", 1, "a string is expected");
    refuses_json("{\"w\" {}}", 5, "':' is expected");
    refuses_json("{\"w\":{" F32_2 " \"data_offsets\":[0,8]}}", 32, "',' or '}' is expected");
    refuses_json("{\"w\":{" F32_2 ",}}", 32, "a string is expected");
    refuses_json("{\"w\":{" F32_2 ",\"data_offsets\":[0,8]]}", 52, "',' or '}' is expected");
    refuses_json("{\"__metadata__\":{\"a\":\"1\" \"b\":\"2\"}}", 25, "',' or '}' is expected");
    refuses_json("{\"__metadata__\":{}", 18, "',' or '}' is expected");
}

Test(safetensors, refuses_what_is_no_string)
{
    refuses_json("{\"w", 3, "a string that does not end");
    refuses_json("{\"w\\\"", 5, "a string that does not end");
    refuses_json("{\"\xff\":1}", 2, "a byte that is not UTF-8");
    refuses_json("{\"\xc3", 2, "a byte that is not UTF-8");
    refuses_json("{\"\xed\xa0\x80\"", 2, "a byte that is not UTF-8");
    refuses_json("{\"a\nb\":1}", 3, "a control character in a string");
    refuses_json("{\"\\x41\":1}", 4, "an escape that JSON does not have");
    refuses_json("{\"\\", 3, "an escape that JSON does not have");
    refuses_json("{\"\\u00g1\":1}", 4, "an escape that is no character");
    refuses_json("{\"\\u004", 4, "an escape that is no character");
    refuses_json("{\"\\ud800\":1}", 8, "an escape that is no character");
    refuses_json("{\"\\udc00\":1}", 8, "an escape that is no character");
    refuses_json("{\"\\ud800\\u0041\":1}", 14, "an escape that is no character");
    refuses_json("{\"w\\u0000\":{}}", 9, "a NUL in a string");
}

Test(safetensors, refuses_duplicates)
{
    refuses("{\"w\":{" F32_2 ",\"data_offsets\":[0,8]},\"w\":{" F32_2 ",\"data_offsets\":[8,16]}}",
            16, "load: t: tensor 'w' is there twice");
    refuses("{\"w\":{" F32_2 ",\"data_offsets\":[0,8]},\"\\u0077\":{" F32_2
            ",\"data_offsets\":[8,16]}}",
            16, "load: t: tensor 'w' is there twice");
    refuses("{\"w\":{" F32_2 ",\"dtype\":\"F64\",\"data_offsets\":[0,8]}}", 8,
            "load: t: tensor 'w' is not an object of dtype, shape and data_offsets");
    refuses("{\"__metadata__\":{\"a\":\"1\",\"b\":\"2\",\"\\u0061\":\"1\"}}", 0,
            "load: t: metadata 'a' is there twice");
    refuses("{\"__metadata__\":{},\"\\u005f_metadata__\":{}}", 0,
            "load: t: __metadata__ is there twice");
}

Test(safetensors, refuses_places_that_do_not_tile)
{
    refuses("{\"w\":{" F32_2 ",\"data_offsets\":[0,8]},\"v\":{" F32_2 ",\"data_offsets\":[0,8]}}",
            8, "load: t: tensor 'w' overlaps another at byte 0 of the data");
    refuses("{\"w\":{" F32_2 ",\"data_offsets\":[0,8]},\"v\":{" F32_2 ",\"data_offsets\":[4,12]}}",
            12, "load: t: tensor 'v' overlaps another at byte 4 of the data");
    refuses("{\"w\":{" F32_2 ",\"data_offsets\":[0,8]},\"v\":{" F32_2 ",\"data_offsets\":[9,17]}}",
            17, "load: t: tensor 'v' has a hole before it at byte 9 of the data");
    refuses("{\"w\":{" F32_2 ",\"data_offsets\":[1,9]}}", 9,
            "load: t: " W " has a hole before it at byte 1 of the data");
    refuses("{\"w\":{" F32_2 ",\"data_offsets\":[0,8]}}", 9,
            "load: t: 1 bytes follow the last tensor");
    refuses("{}", 3, "load: t: 3 bytes follow the last tensor");
    refuses("{\"w\":{" F32_2 ",\"data_offsets\":[8,0]}}", 8,
            "load: t: " W " lies from byte 8 to 0 of 8");
    refuses("{\"w\":{" F32_2 ",\"data_offsets\":[0,8]}}", 7,
            "load: t: " W " lies from byte 0 to 8 of 7");
    refuses("{\"w\":{" F32_2 ",\"data_offsets\":[9223372036854775800,9223372036854775807]}}", 8,
            "load: t: " W " lies from byte 9223372036854775800 to 9223372036854775807 of 8");
}

#define SHAPED(shape, end)                                                                         \
    "{\"w\":{\"dtype\":\"F32\",\"shape\":" shape ",\"data_offsets\":[0," end "]}}"

Test(safetensors, refuses_shapes_that_do_not_fit)
{
    refuses(SHAPED("[3]", "8"), 8, "load: t: " W " has 8 bytes, but dtype and shape ask for 12");
    refuses(SHAPED("[]", "8"), 8, "load: t: " W " has 8 bytes, but dtype and shape ask for 4");
    refuses(SHAPED("[2,0]", "8"), 8, "load: t: " W " has 8 bytes, but dtype and shape ask for 0");
    refuses(SHAPED("[2,9223372036854775807]", "8"), 8,
            "load: t: " W " has a shape of more bytes than 64 bits can count");
    refuses(SHAPED("[4611686018427387906]", "8"), 8,
            "load: t: " W " has a shape of more bytes than 64 bits can count");
    refuses(SHAPED("[4294967296,4294967296,0]", "0"), 0,
            "load: t: " W " has a shape of more bytes than 64 bits can count");
    refuses(SHAPED("[-2]", "8"), 8,
            "load: t: " W ": a size of its shape is no whole number of 0 or more");
    refuses(SHAPED("[2.0]", "8"), 8,
            "load: t: " W ": a size of its shape is no whole number of 0 or more");
    refuses(SHAPED("[\"2\"]", "8"), 8,
            "load: t: " W ": a size of its shape is no whole number of 0 or more");
    refuses(SHAPED("{}", "8"), 8, "load: t: " W " has no shape");
    refuses(SHAPED("2", "8"), 8, "load: t: " W " has no shape");
}

Test(safetensors, refuses_numbers_beyond_64_bits)
{
    refuses(SHAPED("[2,18446744073709551614]", "8"), 8,
            "load: t: " W ": a size of its shape is no whole number of 0 or more");
    refuses(SHAPED("[2]", "9223372036854775808"), 8,
            "load: t: " W ": data_offsets are not two whole numbers of 0 or more");
    refuses(SHAPED("[2]", "1e999"), 8,
            "load: t: " W ": data_offsets are not two whole numbers of 0 or more");
    refuses(SHAPED("[02]", "8"), 8,
            "load: t: " W ": a size of its shape is no whole number of 0 or more");
    refuses(SHAPED("[2,]", "8"), 8,
            "load: t: " W ": a size of its shape is no whole number of 0 or more");
    refuses(SHAPED("[2]", "8.0"), 8,
            "load: t: " W ": data_offsets are not two whole numbers of 0 or more");
    refuses(SHAPED("[2]", "8e0"), 8,
            "load: t: " W ": data_offsets are not two whole numbers of 0 or more");
    refuses(SHAPED("[2]", "-8"), 8,
            "load: t: " W ": data_offsets are not two whole numbers of 0 or more");
    refuses(SHAPED("[2]", "8,8"), 8,
            "load: t: " W ": data_offsets are not two whole numbers of 0 or more");
    refuses("{\"w\":{" F32_2 ",\"data_offsets\":[0]}}", 8,
            "load: t: " W ": data_offsets are not two whole numbers of 0 or more");
    refuses("{\"w\":{" F32_2 ",\"data_offsets\":8}}", 8,
            "load: t: " W ": data_offsets are not two whole numbers of 0 or more");
}

Test(safetensors, refuses_other_entries)
{
    refuses("{\"w\":{" F32_2 "}}", 8,
            "load: t: " W " is not an object of dtype, shape and data_offsets");
    refuses("{\"w\":{" F32_2 ",\"data_offsets\":[0,8],\"more\":1}}", 8,
            "load: t: " W " is not an object of dtype, shape and data_offsets");
    refuses("{\"w\":[]}", 0, "load: t: " W " is not an object of dtype, shape and data_offsets");
    refuses("{\"w\":{" F32_2 ",\"offsets\":[0,8]}}", 8,
            "load: t: " W " is not an object of dtype, shape and data_offsets");
    refuses("{\"w\":{}}", 0, "load: t: " W " is not an object of dtype, shape and data_offsets");
    refuses("{\"w\":{\"dtype\":3,\"shape\":[2],\"data_offsets\":[0,8]}}", 8,
            "load: t: " W " has no dtype");
}

Test(safetensors, refuses_other_metadata)
{
    refuses("{\"__metadata__\":{\"step\":12}}", 0, "load: t: metadata 'step' is not a string");
    refuses("{\"__metadata__\":{\"a\":\"1\",\"b\":null}}", 0,
            "load: t: metadata 'b' is not a string");
    refuses("{\"__metadata__\":\"x\"}", 0, "load: t: __metadata__ is not an object");
    refuses("{\"__metadata__\":[]}", 0, "load: t: __metadata__ is not an object");
}

Test(safetensors, refuses_deep_nesting)
{
    refuses("{\"w\":{\"shape\":[[]]}}", 0,
            "load: t: " W ": a size of its shape is no whole number of 0 or more");
    refuses("{\"w\":{\"shape\":{\"x\":{}}}}", 0, "load: t: " W " has no shape");
    accepts("{\"__metadata__\":{\"a\":\"[[[[{{{{\\\"[[[[\"}}", 0, 0);
    size_t length = 1 << 20;
    char *header = malloc(length + 1);
    memset(header, '[', length);
    memcpy(header, "{\"w\":", 5);
    header[length - 1] = '}';
    header[length] = '\0';
    refuses(header, 0, "load: t: " W " is not an object of dtype, shape and data_offsets");
    free(header);
}

/* 10^5 tensors on the same bytes are refused at once. */
Test(safetensors, refuses_many_on_the_same_bytes)
{
    enum { COUNT = 100000 };
    char *header = malloc(80 * COUNT), *end = header;
    for (int i = 0; i < COUNT; i++)
        end += sprintf(end, "%c\"%d\":{\"dtype\":\"U8\",\"shape\":[200],\"data_offsets\":[0,200]}",
                       i == 0 ? '{' : ',', i);
    strcpy(end, "}");
    clock_t before = clock();
    refuses(header, 200, "load: t: tensor '1' overlaps another at byte 0 of the data");
    cr_expect_lt((double)(clock() - before) / CLOCKS_PER_SEC, 5.0);
    cr_expect_lt(gr_memory(ctx).peak_bytes, 10 * (end - header) + 65536);
    free(header);
}

Test(safetensors, refuses_bools_of_other_values)
{
    static const char header[] =
        "{\"w\":{\"dtype\":\"BOOL\",\"shape\":[3],\"data_offsets\":[0,3]}}";
    put_parts(sizeof header - 1, header, sizeof header - 1, "\0\1\2", 3);
    expect_refused("load: t: " W " has a bool of the value 2");
}

Test(safetensors, refuses_damaged_data)
{
    gr_named_tensor tensors[16];
    cr_assert_eq(gr_save(ctx, "t", make_tensors(tensors), tensors, 0, NULL), GR_OK);
    size_t count;
    uint64_t header;
    char *bytes = get_file("t", &count);
    memcpy(&header, bytes, 8);
    for (size_t i = 8 + header; i < count; i++) {
        bytes[i] ^= 0x10;
        put_file("t", bytes, count);
        cr_expect_null(gr_load(ctx, "t"), "byte %zu", i);
        cr_expect_eq(gr_error(ctx), GR_ERROR_FORMAT);
        gr_error_clear(ctx);
        bytes[i] ^= 0x10;
    }
    free(bytes);
    static const char checked[] = "{\"__metadata__\":{\"crc32.w\":\"CBF43926\"},\"w\":{\"dtype\":"
                                  "\"U8\",\"shape\":[9],\"data_offsets\":[0,9]}}";
    put_parts(sizeof checked - 1, checked, sizeof checked - 1, "123456789", 9);
    gr_archive_free(load());
    put_parts(sizeof checked - 1, checked, sizeof checked - 1, "123456780", 9);
    expect_refused("load: t: " W " is damaged: its CRC-32 is b2288182, the file states CBF43926");
}

/* Changes each byte of a file to each value. The result must be an error or a whole archive, never
   a crash. */
Test(safetensors, survives_every_changed_byte)
{
    const gr_named_tensor tensors[] = {{"w", gr_ones(ctx, GR_F32, gr_shape(2, 1))},
                                       {"v", gr_ones(ctx, GR_BOOL, gr_shape(3))}};
    cr_assert_eq(gr_save(ctx, "t", 2, tensors, 1, (gr_metadata[]){{"k", "v"}}), GR_OK);
    size_t count;
    int loaded = 0;
    char *bytes = get_file("t", &count);
    for (size_t i = 0; i < count; i++) {
        const char before = bytes[i];
        for (int value = 0; value < 256; value += i < 8 ? 1 : 5) {
            bytes[i] = (char)value;
            put_file("t", bytes, count);
            gr_archive *archive = gr_load(ctx, "t");
            loaded += archive != NULL;
            cr_expect_eq(gr_error(ctx), archive == NULL ? GR_ERROR_FORMAT : GR_OK);
            gr_archive_free(archive);
            gr_error_clear(ctx);
        }
        bytes[i] = before;
    }
    cr_expect_gt(loaded, 0);
    free(bytes);
}

/* ---- Reading into tensors -------------------------------------------------------------------- */

Test(safetensors, reads_all_or_nothing)
{
    const gr_named_tensor saved[] = {{"a", gr_full(ctx, GR_F32, gr_shape(2), 1)},
                                     {"b", gr_full(ctx, GR_F64, gr_shape(3), 2)},
                                     {"c", gr_full(ctx, GR_F32, gr_shape(2, 2), 3)}};
    cr_assert_eq(gr_save(ctx, "t", 3, saved, 0, NULL), GR_OK);
    gr_archive *archive = load();
    gr_tensor *a = gr_zeros(ctx, GR_F32, gr_shape(2)), *b = gr_zeros(ctx, GR_F64, gr_shape(3));
    const float *first = gr_data(a);

    gr_named_tensor into[] = {{"a", a}, {"b", b}, {"c", gr_zeros(ctx, GR_F32, gr_shape(4))}};
    cr_expect_eq(gr_archive_read(archive, 3, into), GR_ERROR_FORMAT);
    expect_error(GR_ERROR_FORMAT, "archive_read: t: tensor 'c' has shape [2,2], not [4]");
    into[2].tensor = gr_zeros(ctx, GR_F64, gr_shape(2, 2));
    cr_expect_eq(gr_archive_read(archive, 3, into), GR_ERROR_FORMAT);
    expect_error(GR_ERROR_FORMAT, "archive_read: t: tensor 'c' is f32, not f64");
    into[2] = (gr_named_tensor){"d", gr_zeros(ctx, GR_F32, gr_shape(2, 2))};
    cr_expect_eq(gr_archive_read(archive, 3, into), GR_ERROR_FORMAT);
    expect_error(GR_ERROR_FORMAT, "archive_read: t: there is no tensor 'd'");
    into[2] = (gr_named_tensor){"c", NULL};
    cr_expect_eq(gr_archive_read(archive, 3, into), GR_ERROR_NULL);
    expect_error(GR_ERROR_NULL, "archive_read: the address of tensor 2 is NULL");
    cr_expect_eq(gr_archive_read(archive, -1, into), GR_ERROR_ARGUMENT);
    expect_error(GR_ERROR_ARGUMENT, "archive_read: count is -1");
    cr_expect_eq(gr_archive_read(archive, 1, NULL), GR_ERROR_NULL);
    expect_error(GR_ERROR_NULL, "archive_read: tensors is NULL");
    gr_tensor *p = gr_parameter(gr_zeros(ctx, GR_F32, gr_shape(2, 2)));
    into[2] = (gr_named_tensor){"c", gr_mul(p, p)};
    cr_expect_eq(gr_archive_read(archive, 3, into), GR_ERROR_GRADIENT);
    expect_error(GR_ERROR_GRADIENT, "archive_read: tensor 'c' is the result of a recorded op and "
                                    "cannot be overwritten");
    cr_expect_eq(first[0], 0);
    cr_expect_eq(first[1], 0);
    into[2] = (gr_named_tensor){"c", p};
    cr_expect_eq(gr_archive_read(archive, 3, into), GR_OK);
    cr_expect_eq(gr_item(gr_sum(p)), 12);

    cr_expect_eq(gr_archive_read(archive, 2, into), GR_OK);
    cr_expect_eq(first[1], 1);
    cr_expect_eq(((const double *)gr_data(b))[2], 2);
    gr_archive_free(archive);
}

Test(safetensors, moves_nothing_in_a_context_with_an_error)
{
    const gr_named_tensor tensor = {"a", gr_ones(ctx, GR_F32, gr_shape(2))};
    cr_assert_eq(gr_save(ctx, "t", 1, &tensor, 0, NULL), GR_OK);
    gr_archive *archive = load();
    memset(gr_data_mutable(tensor.tensor), 0, 8);
    cr_expect_null(gr_load(ctx, "none"));
    cr_expect_eq(gr_archive_read(archive, 1, &tensor), GR_ERROR_IO);
    cr_expect_eq(gr_save(ctx, "new", 1, &tensor, 0, NULL), GR_ERROR_IO);
    cr_expect_null(gr_load(ctx, "t"));
    cr_expect(gr_failed(gr_archive_tensor(archive, "a")));
    expect_error(GR_ERROR_IO, "load: none: cannot open: No such file or directory");
    cr_expect_eq(((const float *)gr_data(tensor.tensor))[0], 0);
    cr_expect_eq(count_files(false), 1);
    gr_archive_free(archive);
}

/* ---- Arguments ------------------------------------------------------------------------------- */

static void refuses_to_save(int64_t count, const gr_named_tensor *tensors, int64_t metadata_count,
                            const gr_metadata *metadata, gr_status status, const char *message)
{
    cr_expect_eq(gr_save(ctx, "t", count, tensors, metadata_count, metadata), status);
    expect_error(status, message);
    cr_expect_eq(count_files(false), 0);
}

Test(safetensors, refuses_to_save_wrong_names)
{
    gr_tensor *x = gr_ones(ctx, GR_F32, gr_shape(2)), *y = gr_ones(ctx, GR_F64, gr_shape(2));
    refuses_to_save(1, (gr_named_tensor[]){{"__metadata__", x}}, 0, NULL, GR_ERROR_ARGUMENT,
                    "save: a tensor has the name '__metadata__'");
    refuses_to_save(3, (gr_named_tensor[]){{"w", x}, {"v", x}, {"w", y}}, 0, NULL,
                    GR_ERROR_ARGUMENT, "save: two tensors have the name 'w'");
    refuses_to_save(1, (gr_named_tensor[]){{"w\xff", x}}, 0, NULL, GR_ERROR_ARGUMENT,
                    "save: name 'w\xff' is not UTF-8");
    static const char *const others[] = {"\x80",
                                         "\xc0\x80",
                                         "\xe2\x82",
                                         "\xe0\x80\x80",
                                         "\xed\xa0\x80",
                                         "\xf4\x90\x80\x80",
                                         "\xf8\x88\x80\x80\x80",
                                         "\xc3("};
    for (int i = 0; i < 8; i++) {
        char message[64];
        snprintf(message, sizeof message, "save: name '%s' is not UTF-8", others[i]);
        refuses_to_save(1, (gr_named_tensor[]){{others[i], x}}, 0, NULL, GR_ERROR_ARGUMENT,
                        message);
    }
    refuses_to_save(1, (gr_named_tensor[]){{NULL, x}}, 0, NULL, GR_ERROR_NULL,
                    "save: the name of tensor 0 is NULL");
    refuses_to_save(1, (gr_named_tensor[]){{"w", NULL}}, 0, NULL, GR_ERROR_NULL,
                    "save: the address of tensor 0 is NULL");
}

Test(safetensors, refuses_to_save_wrong_metadata)
{
    refuses_to_save(0, NULL, 1, (gr_metadata[]){{NULL, "v"}}, GR_ERROR_NULL,
                    "save: a key of the metadata is NULL");
    refuses_to_save(0, NULL, 1, (gr_metadata[]){{"k", NULL}}, GR_ERROR_NULL,
                    "save: a value of the metadata is NULL");
    refuses_to_save(0, NULL, 3, (gr_metadata[]){{"k", "1"}, {"l", "2"}, {"k", "3"}},
                    GR_ERROR_ARGUMENT, "save: metadata 'k' is given twice");
    refuses_to_save(0, NULL, 1, (gr_metadata[]){{"crc32.w", "1"}}, GR_ERROR_ARGUMENT,
                    "save: metadata 'crc32.w': 'crc32.' is kept for checksums");
    refuses_to_save(0, NULL, 1, (gr_metadata[]){{"k", "\xc0\x80"}}, GR_ERROR_ARGUMENT,
                    "save: metadata '\xc0\x80' is not UTF-8");
}

Test(safetensors, refuses_wrong_arguments)
{
    refuses_to_save(1, NULL, 0, NULL, GR_ERROR_NULL, "save: tensors is NULL");
    refuses_to_save(0, NULL, 1, NULL, GR_ERROR_NULL, "save: metadata is NULL");
    refuses_to_save(-1, NULL, 0, NULL, GR_ERROR_ARGUMENT,
                    "save: -1 tensors and 0 metadata are asked for");
    cr_expect_eq(gr_save(ctx, NULL, 0, NULL, 0, NULL), GR_ERROR_NULL);
    expect_error(GR_ERROR_NULL, "save: path is NULL");
    cr_expect_eq(gr_save(NULL, "t", 0, NULL, 0, NULL), GR_ERROR_NULL);
    cr_expect_null(gr_load(ctx, NULL));
    expect_error(GR_ERROR_NULL, "load: path is NULL");
    cr_expect_null(gr_load(NULL, "t"));
    cr_expect_null(gr_load(ctx, "."));
    expect_error(GR_ERROR_IO, "load: .: is a directory");
    gr_archive_free(NULL);
    cr_expect_eq(gr_archive_count(NULL), 0);
    cr_expect_null(gr_archive_name(NULL, 0));
    cr_expect_null(gr_archive_metadata(NULL, "k"));
    cr_expect_not_null(gr_archive_tensor(NULL, "w"));
    cr_expect_eq(gr_archive_read(NULL, 0, NULL), GR_ERROR_NULL);
}

Test(safetensors, refuses_tensors_that_cannot_be_used)
{
    gr_context *other = new_context();
    gr_tensor *foreign = gr_ones(other, GR_F32, gr_shape(2));
    refuses_to_save(1, (gr_named_tensor[]){{"w", foreign}}, 0, NULL, GR_ERROR_CONTEXT,
                    "save: tensor 'w' belongs to another context");
    cr_expect_eq(gr_context_free(other), GR_OK);
    gr_tensor *failed = gr_ones(ctx, GR_F32, gr_shape(-2));
    gr_error_clear(ctx);
    cr_expect_neq(gr_save(ctx, "t", 1, (gr_named_tensor[]){{"w", failed}}, 0, NULL), GR_OK);
    cr_expect_neq(gr_error(ctx), GR_OK);
    cr_expect_eq(count_files(false), 0);
}

/* ---- Memory ---------------------------------------------------------------------------------- */

/* Calls with one failing allocation after the other, until the call succeeds. Another op runs
   before each call: the message must name the call, not that op. `gives_back`: the call gives all
   memory back. Returns the number of failures. */
static int64_t count_failures(const char *name, bool (*call)(void), bool gives_back)
{
    int64_t failures = 0;
    for (bool done = false; !done; failures++) {
        cr_assert_not(gr_failed(gr_ones(ctx, GR_F32, gr_shape(2))));
        int64_t before = heap.live;
        heap.fail_at = heap.calls + failures + 1;
        done = call();
        heap.fail_at = 0;
        cr_expect_eq(gr_error(ctx), done ? GR_OK : GR_ERROR_MEMORY, "%s", gr_error_message(ctx));
        cr_expect(!gives_back || heap.live == before);
        if (!done)
            cr_expect(strncmp(gr_error_message(ctx), name, strlen(name)) == 0, "%s: %s", name,
                      gr_error_message(ctx));
        gr_error_clear(ctx);
    }
    return failures - 1;
}

static gr_tensor *turned; /* a tensor that is not contiguous */
static gr_archive *opened;

static bool save_turned(void)
{
    const gr_named_tensor tensor = {"w", turned};
    return gr_save(ctx, "t", 1, &tensor, 1, (gr_metadata[]){{"k", "v"}}) == GR_OK;
}

static bool load_turned(void)
{
    gr_archive *archive = gr_load(ctx, "t");
    gr_archive_free(archive);
    return archive != NULL;
}

static bool copy_turned(void) { return !gr_failed(gr_archive_tensor(opened, "w")); }

Test(safetensors, survives_every_failed_allocation)
{
    const gr_dims shape = gr_shape(200, 300), strides = gr_shape(1, 200);
    turned = gr_restrided(ctx->scope, gr_ones(ctx, GR_F32, shape), &shape, &strides, 0);
    cr_expect_geq(count_failures("save: ", save_turned, true), 4); /* items, metadata, copy, text */
    /* archive, path, text, tensors, metadata, the two orders, data */
    cr_expect_geq(count_failures("load: ", load_turned, true), 8);
    opened = load();
    cr_expect_geq(count_failures("archive_tensor: ", copy_turned, false), 1);
    gr_archive_free(opened);
}

/* ---- Kills ----------------------------------------------------------------------------------- */

static gr_status save_version(gr_context *saver, int version)
{
    gr_named_tensor tensors[] = {
        {"w", gr_full(saver, GR_F32, gr_shape(1000 * (version + 1)), version)},
        {"step", gr_full(saver, GR_I64, gr_shape(), version)},
    };
    return gr_save(saver, "t", 2, tensors, 0, NULL);
}

static void save_forever(void)
{
    gr_context *saver = new_context();
    for (int version = 0;; version = 1 - version) {
        if (gr_scope_begin(saver) != GR_OK || save_version(saver, version) != GR_OK ||
            gr_scope_end(saver) != GR_OK)
            _exit(1);
    }
}

/* Checks that the file is one of the two versions, complete. */
static void check_version(void)
{
    gr_archive *archive = load();
    const int64_t version = *(const int64_t *)gr_data(gr_archive_tensor(archive, "step"));
    gr_tensor *w = gr_archive_tensor(archive, "w");
    cr_assert(version == 0 || version == 1);
    cr_assert_eq(gr_numel(w), 1000 * (version + 1));
    cr_assert_eq(((const float *)gr_data(w))[999], (float)version);
    gr_archive_free(archive);
}

/* A child process saves in a loop and is killed at random moments. GRADUS_KILLS sets how often. */
Test(safetensors, survives_kills)
{
    const char *wanted = getenv("GRADUS_KILLS");
    const int kills = wanted == NULL ? 50 : atoi(wanted);
    int interrupted = 0;
    uint64_t random = (uint64_t)getpid();
    cr_assert_eq(save_version(ctx, 0), GR_OK);
    for (int i = 0; i < kills; i++) {
        pid_t child = fork();
        if (child == 0)
            save_forever();
        random = random * 6364136223846793005u + 1442695040888963407u;
        const struct timespec pause = {0, 500000 + (long)(random >> 33) % 8000000};
        nanosleep(&pause, NULL);
        kill(child, SIGKILL);
        int status;
        cr_assert_eq(waitpid(child, &status, 0), child);
        cr_assert(WIFSIGNALED(status), "the child could not save");
        interrupted += count_files(false) > 1;
        check_version();
    }
    cr_expect_gt(interrupted, 0, "no kill came during a save: nothing was tested");
    cr_assert_eq(save_version(ctx, 1), GR_OK);
    cr_expect_eq(count_files(false), 1, "a temporary file is left");
}
