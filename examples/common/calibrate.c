/* calibrate.c - makes the numbers that a trained classifier gives probabilities.
 *
 * The mean of sigmoid(z + b) rises with b, so bisection finds the b. The same bits come out on
 * every machine, for it uses only ops of the library and exact arithmetic.
 *
 * SPDX-License-Identifier: MIT
 */
#include "calibrate.h"

#include "fail.h"

#include <gradus/ops.h>
#include <math.h>

static double mean_probability(gr_context *ctx, gr_tensor *z, double b)
{
    gr_scope_begin(ctx);
    double mean = gr_item(gr_mean(gr_sigmoid(gr_add(z, gr_scalar_like(z, b)))));
    gr_scope_end(ctx);
    return mean;
}

/* With n samples the share is at least 1/n and at most 1 - 1/n, whose logits are within 64 of 0 for
   any n. This needs no logarithm, for C libraries differ in its last bit. */
static void bracket(gr_tensor *z, double *low, double *high)
{
    const double *value = gr_data(z);
    *low = HUGE_VAL;
    *high = -HUGE_VAL;
    for (int64_t i = 0; i < gr_numel(z); i++) {
        *low = fmin(*low, -64 - value[i]);
        *high = fmax(*high, 64 - value[i]);
    }
}

/* Halves the interval until no double lies between its ends. */
static double find_offset(gr_context *ctx, gr_tensor *z, double share)
{
    double low, high;
    bracket(z, &low, &high);
    for (;;) {
        double middle = low + (high - low) / 2;
        if (!(middle > low && middle < high))
            return high;
        if (mean_probability(ctx, z, middle) < share)
            low = middle;
        else
            high = middle;
    }
}

static void move_last_bias(gr_context *ctx, gr_mlp *mlp, double offset)
{
    gr_tensors parameters = gr_mlp_parameters(mlp);
    gr_tensor *bias = parameters.at[parameters.count - 1];
    float moved = (float)(gr_item(bias) + offset);
    if (gr_write(bias, GR_F32, 1, &moved) != GR_OK)
        give_up_error(ctx);
}

double calibrate(gr_context *ctx, classifier *c, const sample *s)
{
    gr_scope_begin(ctx);
    gr_no_grad_begin(ctx);
    gr_tensor *z = gr_cast(logits_of(c->mlp, s->x), GR_F64);
    double share = gr_item(gr_mean(gr_cast(s->y, GR_F64)));
    give_up_error(ctx);
    double offset = find_offset(ctx, z, share);
    give_up_error(ctx);
    if (!isfinite(offset))
        give_up("the model's logits are no finite numbers; a smaller --lr may help");
    move_last_bias(ctx, c->mlp, offset);
    gr_no_grad_end(ctx);
    gr_scope_end(ctx);
    return offset;
}
