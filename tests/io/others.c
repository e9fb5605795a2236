/* others.c - tests of gr_load with what other programs write: tensors that gradus cannot have, and
 * files of other formats.
 *
 * SPDX-License-Identifier: MIT
 */
#include "temp.h"

TestSuite(others, .init = begin, .fini = end);

static void put_safetensors(const char *header, size_t data_count)
{
    const uint64_t length = strlen(header);
    char *bytes = calloc(8 + length + data_count, 1);
    memcpy(bytes, &length, 8);
    memcpy(bytes + 8, header, length);
    put_file("t", bytes, 8 + length + data_count);
    free(bytes);
}

static gr_archive *load(const char *header, size_t data_count)
{
    put_safetensors(header, data_count);
    gr_archive *archive = gr_load(ctx, "t");
    cr_assert_not_null(archive, "%s", gr_error_message(ctx));
    return archive;
}

static void refuses(const char *header, size_t data_count, const char *message)
{
    put_safetensors(header, data_count);
    cr_expect_null(gr_load(ctx, "t"));
    expect_error(GR_ERROR_FORMAT, message);
}

/* ---- Tensors that gradus cannot have --------------------------------------------------------- */

/* Checks that a tensor is listed, and that both ways to get it give this error. */
static void refuses_tensor(gr_archive *archive, int64_t i, const char *error)
{
    char message[256];
    const char *name = gr_archive_name(archive, i);
    const gr_named_tensor into = {name, gr_zeros(ctx, GR_F32, gr_shape(2))};
    cr_assert_not_null(name);
    cr_expect_not(gr_archive_is_readable(archive, i), "%s", name);
    cr_expect(gr_failed(gr_archive_tensor(archive, name)));
    snprintf(message, sizeof message, "archive_tensor: t: tensor '%s' has %s", name, error);
    expect_error(GR_ERROR_FORMAT, message);
    cr_expect_eq(gr_archive_read(archive, 1, &into), GR_ERROR_FORMAT);
    snprintf(message, sizeof message, "archive_read: t: tensor '%s' has %s", name, error);
    expect_error(GR_ERROR_FORMAT, message);
}

/* One scale in fp8 must not keep the other tensors of a model from being read. */
Test(others, reads_the_other_tensors_of_a_file_with_an_fp8_tensor)
{
    static const char header[] =
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]},"
        "\"b\":{\"shape\":[3, 2],\"data_offsets\":[8,14],\"dtype\":\"F8_E4M3\"},"
        "\"c\":{\"dtype\":\"F4\",\"shape\":[],\"data_offsets\":[14,15]},"
        "\"d\":{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[15,16]}}";
    gr_archive *archive = load(header, 16);
    cr_expect_eq(gr_archive_count(archive), 4);
    cr_expect(gr_archive_is_readable(archive, 0));
    cr_expect(gr_archive_is_readable(archive, 3));
    cr_expect_not(gr_failed(gr_archive_tensor(archive, "a")), "%s", gr_error_message(ctx));
    cr_expect_not(gr_failed(gr_archive_tensor(archive, "d")), "%s", gr_error_message(ctx));
    refuses_tensor(archive, 1, "dtype 'F8_E4M3', which gradus does not have");
    refuses_tensor(archive, 2, "dtype 'F4', which gradus does not have");

    cr_expect_str_eq(gr_archive_dtype(archive, 0), "F32");
    cr_expect_str_eq(gr_archive_dtype(archive, 1), "F8_E4M3");
    cr_expect_eq(gr_archive_ndim(archive, 1), 2);
    cr_expect_eq(gr_archive_size(archive, 1, 0), 3);
    cr_expect_eq(gr_archive_size(archive, 1, 1), 2);
    cr_expect_eq(gr_archive_size(archive, 1, -1), 2);
    cr_expect_eq(gr_archive_size(archive, 1, -2), 3);
    cr_expect_eq(gr_archive_size(archive, 1, 2), 0);
    cr_expect_eq(gr_archive_size(archive, 1, -3), 0);
    cr_expect_eq(gr_archive_ndim(archive, 2), 0);
    cr_expect_eq(gr_archive_size(archive, 2, 0), 0);
    gr_archive_free(archive);
}

Test(others, lists_nothing_where_there_is_no_tensor)
{
    gr_archive *archive =
        load("{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]}}", 2);
    gr_archive *const archives[] = {archive, archive, NULL};
    const int64_t places[] = {-1, 1, 0};
    for (int k = 0; k < 3; k++) {
        cr_expect_null(gr_archive_name(archives[k], places[k]));
        cr_expect_null(gr_archive_dtype(archives[k], places[k]));
        cr_expect_eq(gr_archive_ndim(archives[k], places[k]), 0);
        cr_expect_eq(gr_archive_size(archives[k], places[k], 0), 0);
        cr_expect_not(gr_archive_is_readable(archives[k], places[k]));
    }
    gr_archive_free(archive);
}

/* The sizes and the place of an unknown dtype are still checked. */
Test(others, checks_the_places_of_unknown_dtypes)
{
    refuses("{\"w\":{\"dtype\":\"U16\",\"shape\":[2],\"data_offsets\":[0,5]}}", 4,
            "load: t: tensor 'w' lies from byte 0 to 5 of 4");
    refuses("{\"w\":{\"dtype\":\"U16\",\"shape\":[2],\"data_offsets\":[1,5]}}", 5,
            "load: t: tensor 'w' has a hole before it at byte 1 of the data");
    refuses("{\"w\":{\"dtype\":\"U16\",\"shape\":[-2],\"data_offsets\":[0,4]}}", 4,
            "load: t: tensor 'w': a size of its shape is no whole number of 0 or more");
    refuses("{\"__metadata__\":{\"crc32.w\":\"00000000\"},"
            "\"w\":{\"dtype\":\"U16\",\"shape\":[1],\"data_offsets\":[0,2]}}",
            2, "load: t: tensor 'w' is damaged: its CRC-32 is 41d912ff, the file states 00000000");
}

Test(others, knows_the_dtypes_that_it_lacks)
{
    static const char *const dtypes[] = {"F4", "F6_E2M3", "F8_E4M3", "F8_E5M2", "U16", "U32", "U64",
                                         "I8", "I16",     "C64",     "F8_E8M0", "f32", "",    "F"};
    for (size_t i = 0; i < sizeof dtypes / sizeof *dtypes; i++) {
        char header[128], error[64];
        snprintf(header, sizeof header,
                 "{\"w\":{\"dtype\":\"%s\",\"shape\":[2],\"data_offsets\":[0,8]}}", dtypes[i]);
        snprintf(error, sizeof error, "dtype '%s', which gradus does not have", dtypes[i]);
        gr_archive *archive = load(header, 8);
        cr_expect_str_eq(gr_archive_dtype(archive, 0), dtypes[i]);
        refuses_tensor(archive, 0, error);
        gr_archive_free(archive);
    }
}

Test(others, lists_a_tensor_of_nine_dimensions)
{
    gr_archive *archive =
        load("{\"w\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,2],\"data_offsets\":[0,8]}}", 8);
    cr_expect_eq(gr_archive_ndim(archive, 0), 9);
    cr_expect_eq(gr_archive_size(archive, 0, 8), 2);
    refuses_tensor(archive, 0, "9 dimensions, more than 8");
    gr_archive_free(archive);
    refuses("{\"w\":{\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,3],\"data_offsets\":[0,8]}}", 8,
            "load: t: tensor 'w' has 8 bytes, but dtype and shape ask for 12");
}

/* gr_zeros and gr_save refuse this shape, although it has no elements. */
Test(others, lists_an_empty_tensor_of_too_large_a_shape)
{
    gr_archive *archive = load(
        "{\"w\":{\"dtype\":\"F32\",\"shape\":[0,1152921504606846976],\"data_offsets\":[0,0]}}", 0);
    cr_expect_eq(gr_archive_size(archive, 0, 1), INT64_C(1) << 60);
    refuses_tensor(archive, 0, "shape [0,1152921504606846976] of too many elements");
    gr_archive_free(archive);
    cr_expect(gr_failed(gr_zeros(ctx, GR_F32, gr_shape(0, INT64_C(1) << 60))));
    gr_error_clear(ctx);
}

/* What gr_load calls readable, gr_save writes, and the other way round. */
Test(others, saves_again_what_it_reads)
{
    static const char *const readable[] = {
        "{\"\":{\"dtype\":\"U8\",\"shape\":[],\"data_offsets\":[0,1]}}",
        "{\"w\":{\"dtype\":\"F32\",\"shape\":[0,144115188075855871],\"data_offsets\":[0,0]}}",
        "{\"w\":{\"dtype\":\"I64\",\"shape\":[1,1,1,1,1,1,1,1],\"data_offsets\":[0,8]}}"};
    const size_t counts[] = {1, 0, 8};
    for (int i = 0; i < 3; i++) {
        gr_archive *archive = load(readable[i], counts[i]);
        const char *name = gr_archive_name(archive, 0);
        cr_expect(gr_archive_is_readable(archive, 0), "%s", readable[i]);
        gr_tensor *x = gr_archive_tensor(archive, name);
        cr_assert_eq(gr_save(ctx, "t", 1, &(gr_named_tensor){name, x}, 0, NULL), GR_OK, "%s",
                     gr_error_message(ctx));
        gr_archive *again = gr_load(ctx, "t");
        cr_assert_not_null(again, "%s", gr_error_message(ctx));
        cr_expect_str_eq(gr_archive_name(again, 0), name);
        cr_expect_str_eq(gr_archive_dtype(again, 0), gr_archive_dtype(archive, 0));
        cr_expect_eq(gr_archive_ndim(again, 0), gr_archive_ndim(archive, 0));
        for (int axis = 0; axis < gr_archive_ndim(archive, 0); axis++)
            cr_expect_eq(gr_archive_size(again, 0, axis), gr_archive_size(archive, 0, axis));
        gr_archive_free(archive);
        gr_archive_free(again);
    }
}

/* ---- Files of other formats ------------------------------------------------------------------ */

static void seems(const void *bytes, size_t count, const char *what)
{
    char message[256];
    snprintf(message, sizeof message, "load: t: is no safetensors file; it seems to be %s", what);
    put_file("t", bytes, count);
    cr_expect_null(gr_load(ctx, "t"));
    expect_error(GR_ERROR_FORMAT, message);
}

#define SEEMS(text, what) seems((text), sizeof(text) - 1, (what))

Test(others, says_what_a_file_seems_to_be)
{
    SEEMS("\x93NUMPY\1\0v\0{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }",
          "a NumPy array (.npy)");
    SEEMS("PK\3\4\0\0\10\10\0\0\0\0\0\0archive/data.pkl",
          "a zip archive, such as .pt of PyTorch, .npz or .xlsx");
    SEEMS("\x1f\x8b\10\0\0\0\0\0\0\3 and so on", "compressed by gzip");
    SEEMS("BZh91AY&SY and so on", "compressed by bzip2");
    SEEMS("\xfd"
          "7zXZ\0\0\4 and so on",
          "compressed by xz");
    SEEMS("\x28\xb5\x2f\xfd and so on", "compressed by zstd");
    SEEMS("\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "a PNG picture");
    SEEMS("\xff\xd8\xff\xe0\0\20JFIF\0", "a JPEG picture");
    SEEMS("\x89HDF\r\n\x1a\n\0\0\0\0\0\10\10\0", "an HDF5 file, such as .h5 of Keras");
    SEEMS("GGUF\3\0\0\0\0\0\0\0", "a GGUF file");
    SEEMS("\x1c\0\0\0TFL3\24\0\40\0", "a TensorFlow Lite model");
    SEEMS("PAR1\25\4\25\20\25\24\114\25", "a Parquet table");
    SEEMS("ARROW1\0\0\xff\xff\xff\xff", "an Arrow table");
    SEEMS("SQLite format 3\0\20\0", "an SQLite database");
    SEEMS("%PDF-1.7\n%\xb5\xed\xae", "a PDF document");
    SEEMS("\x7f"
          "ELF\2\1\1\0\0\0\0\0",
          "a program (ELF)");
    SEEMS("\x80\2\x8a\nl\xfc\x9c\x46\xf9 j\xa8P\31.",
          "a Python pickle, such as an old .pt of PyTorch");
    SEEMS("\x80\3}q\0X\1\0\0\0wq\1", "a Python pickle, such as an old .pt of PyTorch");
    SEEMS("\x80\4\x95\20\0\0\0\0\0\0\0}\x94", "a Python pickle");
    SEEMS("\x80\5\x95\20\0\0\0\0\0\0\0}\x94", "a Python pickle");
    char tar[512] = "model/weights.bin";
    memcpy(tar + 257, "ustar", 6);
    seems(tar, sizeof tar, "a tar archive");
}

Test(others, says_what_a_text_seems_to_be)
{
    SEEMS("<!DOCTYPE html>\n<html lang=en>", "an HTML page");
    SEEMS("\n  <HTML><head><title>Sign in", "an HTML page");
    SEEMS("<?xml version=\"1.0\"?><Error>", "an XML document");
    SEEMS("{\"model_type\": \"bert\"}", "JSON text");
    SEEMS("{", "JSON text");
    SEEMS("[[1, 2], [3, 4]]", "JSON text");
    SEEMS("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n",
          "a pointer of Git LFS, in place of the file itself");
    SEEMS("\xff\xfe{\0\"\0a\0\"\0", "text in UTF-16");
    SEEMS("404: Not Found", "text");
    SEEMS("a,b\n1,2\n", "text");
    put_file("t", "7", 1);
    cr_expect_null(gr_load(ctx, "t"));
    expect_error(GR_ERROR_FORMAT, "load: t: is no safetensors file; it seems to be text");
}

/* The length of a safetensors file that lost its end can look like the sign of another format: 640
   is that of a pickle. */
Test(others, calls_a_truncated_file_truncated)
{
    char bytes[300] = "\x80\2\0\0\0\0\0\0{\"w\":{\"dtype\":\"F32\",";
    put_file("t", bytes, sizeof bytes);
    cr_expect_null(gr_load(ctx, "t"));
    expect_error(GR_ERROR_FORMAT, "load: t: states a header of 640 bytes, but only 292 follow");
    put_file("t", bytes, 8);
    cr_expect_null(gr_load(ctx, "t"));
    expect_error(GR_ERROR_FORMAT, "load: t: states a header of 640 bytes, but only 0 follow");
}

Test(others, names_no_format_that_it_does_not_know)
{
    put_file("t", "\1\2\3\4\5\6\7\10\11\12", 10);
    cr_expect_null(gr_load(ctx, "t"));
    expect_error(GR_ERROR_FORMAT,
                 "load: t: states a header of 578437695752307201 bytes, more than 100000000");
    put_file("t", "\2\0\0\0\0\0\0\0\0\0", 10);
    cr_expect_null(gr_load(ctx, "t"));
    expect_error(GR_ERROR_FORMAT, "load: t: header does not begin with a brace");
    put_file("t", "", 0);
    cr_expect_null(gr_load(ctx, "t"));
    expect_error(GR_ERROR_FORMAT, "load: t: has 0 bytes, too few for a header's length");
}
