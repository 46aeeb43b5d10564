#include "state/node.h"

#include <endian.h>
#include <string.h>

#include "base/assert.h"

/* Below this many useless bytes in all heads of a node they are not worth computing again. */
enum { HEAD_WASTE_MAX = 4 };

size_t node_size(unsigned level)
{
    size_t children = level > 0 ? NODE_CAPACITY * sizeof(struct state_node *) : 0;
    return sizeof(struct state_node) + children;
}

void node_init(struct state_node *n, unsigned level)
{
    ASSERT(level < STATE_HEIGHT_MAX);
    n->count = 0;
    n->shared = 0;
    n->level = (uint8_t)level;
}

size_t common_size(struct bytes a, struct bytes b, size_t limit)
{
    size_t i = 0;
    size_t end = a.size < b.size ? a.size : b.size;
    end = end < limit ? end : limit;
    while (i < end && a.data[i] == b.data[i]) {
        i++;
    }
    return i;
}

/* Zero bytes stand for what a short key does not have: equal heads do not mean equal keys. */
uint64_t node_head(struct bytes key, size_t shared)
{
    uint64_t head = 0;
    if (key.size >= shared + sizeof head) {
        memcpy(&head, key.data + shared, sizeof head);
        return be64toh(head);
    }
    for (size_t i = shared; i < key.size; i++) {
        head |= (uint64_t)key.data[i] << (56 - 8 * (i - shared));
    }
    return head;
}

/* Slot of the first head >= head in [lo, hi). Without branches: random keys leave nothing to
 * predict. */
static size_t first_head(const uint64_t *heads, uint64_t head, size_t lo, size_t hi)
{
    while (lo < hi) {
        size_t half = (hi - lo) / 2;
        bool beyond = heads[lo + half] < head;
        size_t next = lo + half + 1;
        hi = beyond ? hi : lo + half;
        lo = beyond ? next : lo;
    }
    return lo;
}

/* An empty key may have no data to add to. */
static struct bytes after(struct bytes key, size_t shared)
{
    return shared == 0 ? key : bytes_of(key.data + shared, key.size - shared);
}

/* Among keys whose head is that of key, which starts at lo. */
static size_t rank_alike(const struct state_node *n, struct bytes key, uint64_t head, size_t lo,
                         bool *equal_out)
{
    struct bytes rest = after(key, n->shared);
    size_t hi = n->count;
    while (lo < hi) {
        size_t middle = lo + (hi - lo) / 2;
        int order = -1;
        if (n->heads[middle] == head) {
            order = bytes_compare(rest, after(record_key(n->keys[middle]), n->shared));
        }
        if (order == 0) {
            *equal_out = true;
            return middle;
        }
        if (order < 0) {
            hi = middle;
        } else {
            lo = middle + 1;
        }
    }
    return lo;
}

size_t node_rank(const struct state_node *n, struct bytes key, bool *equal_out)
{
    size_t first = node_first(n);
    *equal_out = false;
    if (n->count <= first) {
        return first;
    }
    if (n->shared > 0) {
        size_t size = key.size < n->shared ? key.size : n->shared;
        int order = size > 0 ? memcmp(key.data, n->keys[first]->bytes, size) : 0;
        if (order > 0) {
            return n->count;
        }
        if (order < 0 || key.size < n->shared) {
            return first;
        }
    }
    uint64_t head = node_head(key, n->shared);
    size_t at = first_head(n->heads, head, first, n->count);
    if (at == n->count || n->heads[at] != head) {
        return at;
    }
    return rank_alike(n, key, head, at, equal_out);
}

size_t node_child(const struct state_node *n, struct bytes key)
{
    bool equal;
    size_t at = node_rank(n, key, &equal);
    return equal ? at : at - 1;
}

/* Look at all keys: shared as large as it can be. */
static void measure(struct state_node *n)
{
    size_t first = node_first(n);
    if (n->count <= first) {
        return;
    }
    struct bytes lowest = record_key(n->keys[first]);
    struct bytes highest = record_key(n->keys[n->count - 1]);
    n->shared = (uint16_t)common_size(lowest, highest, STATE_KEY_BYTES_MAX);
    for (size_t i = first; i < n->count; i++) {
        n->heads[i] = node_head(record_key(n->keys[i]), n->shared);
    }
}

/* After keys have left. Most splits leave heads that tell the keys apart as they are, and then the
 * keys, which are all over the memory, need not be touched. */
static void measure_if_worth_it(struct state_node *n)
{
    size_t first = node_first(n);
    if (n->count > first) {
        uint64_t different = n->heads[first] ^ n->heads[n->count - 1];
        if (different >> (64 - 8 * HEAD_WASTE_MAX) == 0) {
            measure(n);
        }
    }
}

/* Slot `at` has a new key: make shared and heads true again. */
static void measure_one(struct state_node *n, size_t at)
{
    size_t first = node_first(n);
    size_t last = n->count - 1u;
    struct bytes key = record_key(n->keys[at]);
    if (first == last) {
        n->shared = (uint16_t)key.size;
    } else {
        struct bytes other = record_key(n->keys[at == first ? last : first]);
        if (common_size(key, other, n->shared) < n->shared) {
            measure(n);
            return;
        }
    }
    n->heads[at] = node_head(key, n->shared);
}

void node_insert(struct state_node *n, size_t at, struct record *key, struct state_node *child)
{
    ASSERT(n->count < NODE_CAPACITY);
    ASSERT(at >= node_first(n) && at <= n->count);
    size_t moved = n->count - at;
    memmove(n->heads + at + 1, n->heads + at, moved * sizeof n->heads[0]);
    memmove(n->keys + at + 1, n->keys + at, moved * sizeof n->keys[0]);
    if (n->level > 0) {
        memmove(n->children + at + 1, n->children + at, moved * sizeof n->children[0]);
        n->children[at] = child;
    }
    n->keys[at] = key;
    n->count++;
    measure_one(n, at);
}

void node_remove(struct state_node *n, size_t at)
{
    ASSERT(at >= node_first(n) && at < n->count);
    size_t moved = n->count - at - 1;
    memmove(n->heads + at, n->heads + at + 1, moved * sizeof n->heads[0]);
    memmove(n->keys + at, n->keys + at + 1, moved * sizeof n->keys[0]);
    if (n->level > 0) {
        memmove(n->children + at, n->children + at + 1, moved * sizeof n->children[0]);
    }
    n->count--;
}

void node_set_key(struct state_node *n, size_t at, struct record *key)
{
    ASSERT(at >= node_first(n) && at < n->count);
    n->keys[at] = key;
    measure_one(n, at);
}

struct record *node_split(struct state_node *left, struct state_node *right, size_t at)
{
    ASSERT(left->level == right->level && right->count == 0);
    ASSERT(at > 0 && at < left->count);
    size_t moved = left->count - at;
    memcpy(right->heads, left->heads + at, moved * sizeof right->heads[0]);
    memcpy(right->keys, left->keys + at, moved * sizeof right->keys[0]);
    right->shared = left->shared;
    right->count = (uint16_t)moved;
    left->count = (uint16_t)at;
    struct record *separator = NULL;
    if (left->level > 0) {
        memcpy(right->children, left->children + at, moved * sizeof right->children[0]);
        separator = right->keys[0];
        right->keys[0] = NULL;
    }
    measure_if_worth_it(left);
    measure_if_worth_it(right);
    return separator;
}

static void fill(struct state_node *n, size_t count, struct record *const *keys,
                 struct state_node *const *children)
{
    memcpy(n->keys, keys, count * sizeof keys[0]);
    if (n->level > 0) {
        memcpy(n->children, children, count * sizeof children[0]);
        n->keys[0] = NULL;
    }
    n->count = (uint16_t)count;
    measure(n);
}

struct record *node_share_out(struct state_node *left, struct state_node *right,
                              struct record *separator, size_t left_count)
{
    struct record *keys[2 * NODE_CAPACITY];
    struct state_node *children[2 * NODE_CAPACITY];
    size_t count = (size_t)left->count + right->count;
    ASSERT(left->level == right->level);
    ASSERT(left_count <= NODE_CAPACITY && left_count <= count);
    ASSERT(count - left_count <= NODE_CAPACITY);

    memcpy(keys, left->keys, left->count * sizeof keys[0]);
    memcpy(keys + left->count, right->keys, right->count * sizeof keys[0]);
    if (left->level > 0) {
        memcpy(children, left->children, left->count * sizeof children[0]);
        memcpy(children + left->count, right->children, right->count * sizeof children[0]);
        keys[left->count] = separator;
    }
    fill(left, left_count, keys, children);
    if (left_count == count) {
        right->count = 0;
        return NULL;
    }
    struct record *between = left->level > 0 ? keys[left_count] : NULL;
    fill(right, count - left_count, keys + left_count, children + left_count);
    return between;
}
