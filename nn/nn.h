/* nn.h - declarations that the files of nn/ share: the errors of a missing context, and the rows of
 * an optimiser's step.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef GRADUS_NN_ROOM_H
#define GRADUS_NN_ROOM_H

#include "core/engine/engine.h"
#include <gradus/nn.h>
#include <gradus/ops.h>

/* The errors that a context can have from its creation on. A model or an optimiser of such a
   context is a stand-in: there is one for each of these errors. */
#define GR_FIRST_ERRORS(row)                                                                       \
    row(GR_ERROR_MEMORY) row(GR_ERROR_NULL) row(GR_ERROR_ARGUMENT) row(GR_ERROR_PROCESSOR)

/* The attributes of a step. */
typedef struct gr_step_settings {
    double lr, weight_decay;
    double momentum;              /* SGD */
    double beta1, beta2, epsilon; /* Adam */
    bool nesterov;                /* SGD */
} gr_step_settings;

typedef struct gr_piece gr_piece;

/* A row that updates one parameter in place. Its operands are the parameter, its moments, its
   powers [2] if the rule is corrected, and its gradient. The op writes all of them except the
   gradient. */
typedef struct gr_rule {
    gr_op op;
    int moments;    /* tensors of the parameter's shape */
    bool corrected; /* divides by 1 - (power of each beta) */
    void (*update)(const gr_step_settings *settings, const double *powers, gr_piece *piece);
} gr_rule;

enum { GR_RULE_MOMENTS = 2, GR_RULE_OPERANDS = 1 + GR_RULE_MOMENTS + 1 + 1 };

extern const gr_rule gr_sgd_rule, gr_momentum_rule, gr_adam_rule, gr_adamw_rule;

/* steps <- steps + 1, in place. steps is i64 and 0-d. */
extern const gr_op gr_count_step_op;

/* A half parameter has an f32 copy, its master, that is updated instead of it. In place:
       meet_master(master, parameter): master <- parameter where it does not round to it, because
                                       the parameter has been written since
       round_master(parameter, master): parameter <- master */
extern const gr_op gr_meet_master_op, gr_round_master_op;

#endif
