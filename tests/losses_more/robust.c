/* robust.c - equal bits everywhere, strided operands, and every allocation that may fail.
 *
 * SPDX-License-Identifier: MIT
 */
#include "helpers.h"

TestSuite(robust, .init = begin, .fini = end, .timeout = 300);

/* Hashes loss and gradients of one loss, in all variants and reductions. */
typedef struct scene {
    const char *loss;
    gr_dims shape;
    int variants;
    gr_dtype dtype;
} scene;

static gr_tensor *leaf(gr_tensor *x, gr_dtype dtype)
{
    return x && gr_dtype_is_float(gr_dtype_of(x)) ? gr_variable(gr_cast(x, dtype)) : x;
}

static uint64_t run(gr_context *c, const void *data)
{
    const scene *it = data;
    uint64_t hash = 1;
    reseed(5);
    for (int variant = 0; variant < it->variants; variant++) {
        (void)!gr_scope_begin(c);
        spec s = sample_of(c, it->loss, variant, it->shape);
        s.reduction = (gr_reduction)(variant % 3);
        s.x = leaf(s.x, it->dtype);
        s.y = leaf(s.y, it->dtype);
        s.z = leaf(s.z, it->dtype);
        s.w = leaf(s.w, it->dtype);
        gr_tensor *loss = call_loss(&s), *gradients[3];
        gr_tensor *inputs[3] = {s.x, s.z ? s.z : s.x, s.w ? s.w : s.x};
        (void)!gr_grad_with(loss, (gr_tensors){3, inputs}, gradients, NULL);
        hash = hash * 31 + hash_of(loss);
        for (int i = 0; i < 3; i++)
            hash = hash * 31 + hash_of(gradients[i]);
        (void)!gr_scope_end(c);
    }
    return hash;
}

#define NAME(name) #name,
static const char *const names[] = {LOSSES(NAME)};

Test(robust, every_allocation_may_fail)
{
    for (int i = 0; i < COUNT_OF(names); i++)
        expect_survives(names[i], run, &(scene){names[i], gr_shape(2, 3), 2, GR_F32});
}

typedef struct expected {
    scene it;
    uint64_t hash;
} expected;

static void same(gr_context *other, const char *label, void *data)
{
    const expected *want = data;
    cr_expect_eq(run(other, &want->it), want->hash, "%s on %s: other bits", want->it.loss, label);
    cr_expect_eq(gr_error(other), GR_OK, "%s", gr_error_message(other));
}

Test(robust, the_same_bits_for_any_threads_and_instruction_set)
{
    for (int i = 0; i < COUNT_OF(names); i++) {
        expected want = {.it = {names[i], gr_shape(120, 260), VARIANTS, GR_F32}};
        gr_context *one = new_context("scalar", 1);
        want.hash = run(one, &want.it);
        cr_expect_eq(gr_context_free(one), GR_OK);
        on_each_context(same, &want);
    }
}

/* Returns a view of the same elements with other strides: transposed in memory, or every second
   element. */
static gr_tensor *strided(gr_tensor *x)
{
    if (!x || gr_ndim(x) == 0)
        return x;
    if (gr_ndim(x) > 1)
        return gr_transpose(gr_contiguous(gr_transpose(x)));
    const int64_t count = gr_size(x, 0);
    gr_tensor *twice = gr_expand(gr_reshape(x, gr_shape(count, 1)), gr_shape(count, 2));
    return gr_slice(gr_reshape(twice, gr_shape(2 * count)), 0, 0, 2 * count, 2);
}

Test(robust, strides_do_not_matter)
{
    for (int i = 0; i < COUNT_OF(names); i++) {
        for (int variant = 0; variant < VARIANTS; variant++) {
            spec s = sample_of(ctx, names[i], variant, gr_shape(5, 7));
            s.reduction = GR_NONE;
            gr_tensor *plain = call_loss(&s);
            s.x = strided(s.x);
            s.y = strided(s.y);
            s.z = strided(s.z);
            s.w = strided(s.w);
            cr_expect_not(gr_is_contiguous(s.x));
            cr_expect_not(gr_is_contiguous(s.y));
            cr_expect(same_bits(plain, call_loss(&s)), "%s, variant %d", names[i], variant);
        }
    }
    expect_fine(ctx);
}
