/* What a test's own proposals and queries of the machine "kv" did and saw: the input of the
 * linearizability checker.
 *
 * A conditional set or delete that went through is a write; one that did not did not happen. What a
 * transaction touches is left out of the check, as are local reads: they promise nothing. Where
 * scripts may write too, the history is not the whole: then it is checked only when a test asks for
 * it. */
#ifndef MK_SCENARIO_KV_HISTORY_H
#define MK_SCENARIO_KV_HISTORY_H

#include <stdbool.h>
#include <stdint.h>

#include "node/node.h"

struct kv_history;

struct kv_history *kv_history_new(void);
/* Accepts NULL. */
void kv_history_free(struct kv_history *h);

/* A call of a node begins. The number to end it with; KV_HISTORY_NONE: it is none of interest. */
#define KV_HISTORY_NONE UINT32_MAX
uint32_t kv_history_begin(struct kv_history *h, const char *method, struct bytes params,
                          uint64_t now_us);
void kv_history_end(struct kv_history *h, uint32_t number, const struct node_reply *reply,
                    uint64_t now_us);

/* Appends what is wrong to words. False if the history cannot be explained (or not within the
 * checker's limits). */
bool kv_history_check(const struct kv_history *h, struct buffer *words);

#endif
