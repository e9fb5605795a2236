/* gradus.h - tensors and reverse-mode automatic differentiation in C, with accurate losses. It
 * includes all headers but compat.h. Read them in this order.
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef GRADUS_H
#define GRADUS_H

#include <gradus/core.h>   /* contexts, scopes, tensors, errors, gradients */
#include <gradus/ops.h>    /* functions of tensors */
#include <gradus/losses.h> /* binary cross entropy and other losses */
#include <gradus/nn.h>     /* layers and optimisers */
#include <gradus/io.h>     /* CSV and safetensors */
#include <gradus/check.h>  /* the gradient checker */
#include <gradus/extend.h> /* an op of your own */

#endif
