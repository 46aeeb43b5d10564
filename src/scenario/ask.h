/* A request of a test until it is answered, exactly once: its parameters, and the ways to answer
 * it. Private to the driver; verbs.h lists who uses it. Every answer frees the request. */
#ifndef MK_SCENARIO_ASK_H
#define MK_SCENARIO_ASK_H

#include "scenario/driver.h"
#include "wire/reader.h"

enum { ASK_NAME_MAX = 64 }; /* bytes of a name: of an option, a method, a rule */

struct ask {
    struct driver *driver;
    uint64_t id;
    struct reader params;
    struct driver_cluster *cluster;
    uint32_t node;    /* whom it concerns; 0: nobody */
    uint32_t to;      /* the other end of a link */
    uint32_t waiting; /* answers of nodes that are still to come */
    enum err err;     /* the first of them that failed */
    struct why why;
    uint32_t history;   /* number of the call in the cluster's history */
    bool ready_only;    /* verb_leader */
    uint64_t best_term; /* the same: of whoever leads, so far */
    uint32_t best_node;
};

/* ---- answers ---- */

void ask_answer(struct ask *a, enum err err, const char *message, struct bytes result);
void ask_answer_nothing(struct ask *a);
/* Closes out. */
void ask_answer_buffer(struct ask *a, struct buffer *out);
void ask_fail(struct ask *a, enum err err, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* "n2: the node does not run". message may be NULL or "": then what err says. */
void ask_fail_node(struct ask *a, uint32_t node, enum err err, const char *message);
/* The answer of a node is the answer. ctx is the request. */
void ask_pass_on(void *ctx, const struct node_reply *reply);

/* ---- parameters ---- */

bool ask_next_is_nil(struct ask *a);
/* The next parameter as a string that ends with a zero; "" if it is nil. */
void ask_next_text(struct ask *a, char *out, size_t capacity);
/* 0, with an error in a->params, if there is no such node. */
uint32_t ask_next_node(struct ask *a);
/* A map of options; take() is called for each key, reads the value, and says whether it knows it.
 * known names the options, for the message. False, and it is answered, if one is wrong. */
typedef bool ask_take_field(struct reader *r, struct bytes key, void *ctx);
bool ask_next_fields(struct ask *a, ask_take_field *take, void *ctx, const char *known);
/* Milliseconds, perhaps with a fraction. */
uint64_t read_ms_as_us(struct reader *r);

#endif
