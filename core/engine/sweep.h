/* sweep.h - what sweep.c and gradients.c share: one sweep under way.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef GRADUS_SWEEP_H
#define GRADUS_SWEEP_H

#include "core/engine/engine.h"
#include <stdio.h>

typedef struct gr_sweep_state {
    gr_context *ctx;
    int64_t id, since;   /* its number; entries before `since` are not met */
    bool record;         /* the gradients can be differentiated again */
    bool all_parameters; /* each parameter that is met is an input */
    gr_scope *scope;     /* of the sums of gradients */
    gr_entry *youngest, *oldest;    /* the entries met */
    gr_parameter_state *parameters; /* met */
} gr_sweep_state;

/* Asks for the gradients of these. Entries that are older than all of them cannot matter. */
void gr_sweep_inputs(gr_sweep_state *s, gr_tensors inputs);

/* Meets y's ancestors; whether y depends on an input. */
bool gr_sweep_reaches(gr_sweep_state *s, gr_tensor *y);

/* Walks back from y; false after an error. */
bool gr_sweep_back(gr_sweep_state *s, gr_tensor *y, gr_tensor *seed);

/* Adds a parameter to the list. */
void gr_meet_parameter(gr_tensor *x, gr_parameter_state **list);

/* For each parameter of the list that has a sum: prepare may fail, commit not. */
bool gr_prepare_gradients(gr_parameter_state *list);
void gr_commit_gradients(gr_parameter_state *list);

#endif
