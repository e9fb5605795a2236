/* sweep.h - the state of one sweep, which sweep.c and gradients.c share.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef GRADUS_SWEEP_H
#define GRADUS_SWEEP_H

#include "core/engine/engine.h"
#include <stdio.h>

typedef struct gr_sweep_state {
    gr_context *ctx;
    int64_t id, since;              /* its number; it does not visit entries older than `since` */
    bool record;                    /* the gradients can be differentiated again */
    bool all_parameters;            /* each parameter that it visits is an input */
    gr_scope *scope;                /* owns the sums of gradients */
    gr_entry *youngest, *oldest;    /* the visited entries */
    gr_parameter_state *parameters; /* the visited parameters */
} gr_sweep_state;

/* Requests the gradients of these inputs. Entries older than all inputs cannot matter. */
void gr_sweep_inputs(gr_sweep_state *s, gr_tensors inputs);

/* Visits y's ancestors. True if y depends on an input. */
bool gr_sweep_reaches(gr_sweep_state *s, gr_tensor *y);

/* Walks back from y. False after an error. */
bool gr_sweep_back(gr_sweep_state *s, gr_tensor *y, gr_tensor *seed);

/* Adds a parameter to the list. */
void gr_meet_parameter(gr_tensor *x, gr_parameter_state **list);

/* Work on each parameter of the list that has a sum. prepare may fail. commit cannot fail. */
bool gr_prepare_gradients(gr_parameter_state *list);
void gr_commit_gradients(gr_parameter_state *list);

#endif
