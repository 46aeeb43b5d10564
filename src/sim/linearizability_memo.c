/* A hash table of configurations. Entries lie end to end in one arena, as long as their bits need;
 * those that differ only in which unknown operations they used hang on one chain. */
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "sim/linearizability_internal.h"

/* An entry: this, then the words of known, then those of unknown. */
struct entry {
    uint64_t hash;
    uint64_t next; /* with the same hash; offset in words, 0: none */
    lin_state state;
    uint32_t known_first;
    uint32_t known_words;
    uint32_t unknown_words;
    uint32_t padding;
};

enum { ENTRY_WORDS = sizeof(struct entry) / sizeof(uint64_t), SLOTS_MIN = 1024 };

struct lin_memo {
    uint64_t *arena;
    size_t words, words_capacity; /* word 0 is not used */
    uint64_t *slots;              /* offset of the first entry with a hash; 0: free */
    size_t slots_count;           /* a power of two */
    size_t hashes;                /* slots in use */
    size_t memory_max_bytes;
};

struct lin_memo *lin_memo_new(size_t memory_max_bytes)
{
    struct lin_memo *m = NEW(struct lin_memo);
    m->memory_max_bytes = memory_max_bytes;
    m->words = 1;
    m->slots_count = SLOTS_MIN;
    m->slots = alloc_zeroed(m->slots_count, sizeof *m->slots);
    return m;
}

void lin_memo_free(struct lin_memo *m)
{
    free(m->arena);
    free(m->slots);
    free(m);
}

static struct entry *entry_at(const struct lin_memo *m, uint64_t offset)
{
    return (struct entry *)(void *)(m->arena + offset);
}

static uint64_t *slot_of(const struct lin_memo *m, uint64_t hash)
{
    size_t i = hash & (m->slots_count - 1);
    while (m->slots[i] != 0 && entry_at(m, m->slots[i])->hash != hash) {
        i = (i + 1) & (m->slots_count - 1);
    }
    return &m->slots[i];
}

static bool is_full(const struct lin_memo *m, size_t more_words)
{
    return (m->words_capacity + more_words + m->slots_count) * sizeof(uint64_t) >
           m->memory_max_bytes;
}

static void double_slots(struct lin_memo *m)
{
    uint64_t *old = m->slots;
    size_t old_count = m->slots_count;
    m->slots_count *= 2;
    m->slots = alloc_zeroed(m->slots_count, sizeof *m->slots);
    for (size_t i = 0; i < old_count; i++) {
        if (old[i] != 0) {
            *slot_of(m, entry_at(m, old[i])->hash) = old[i];
        }
    }
    free(old);
}

/* Room for one more entry of this many words. False if that is beyond the limit. */
static bool make_room(struct lin_memo *m, size_t words)
{
    if (m->words + words > m->words_capacity) {
        size_t more = m->words_capacity / 2 + words + SLOTS_MIN;
        if (is_full(m, more)) {
            return false;
        }
        m->words_capacity += more;
        m->arena = alloc_resize(m->arena, m->words_capacity, sizeof *m->arena);
    }
    if (2 * (m->hashes + 1) > m->slots_count) {
        if (is_full(m, m->slots_count)) {
            return false;
        }
        double_slots(m);
    }
    return true;
}

static uint64_t hash_of(const struct lin_configuration *c)
{
    uint64_t seed = c->state * UINT64_C(0x9e3779b97f4a7c15) ^ c->known_first;
    return XXH3_64bits_withSeed(c->known, c->known_words * sizeof *c->known, seed);
}

/* The same state and known operations, and no unknown operation that c has not used, too. */
static bool covers(const struct entry *e, const struct lin_configuration *c)
{
    const uint64_t *known = (const uint64_t *)(e + 1), *unknown = known + e->known_words;
    if (e->state != c->state || e->known_first != c->known_first ||
        e->known_words != c->known_words ||
        memcmp(known, c->known, c->known_words * sizeof *known) != 0) {
        return false;
    }
    for (uint32_t i = 0; i < e->unknown_words; i++) {
        uint64_t used = i < c->unknown_words ? c->unknown[i] : 0;
        if ((unknown[i] & ~used) != 0) {
            return false;
        }
    }
    return true;
}

static uint64_t append(struct lin_memo *m, const struct lin_configuration *c, struct entry head)
{
    uint64_t offset = m->words, *known = m->arena + offset + ENTRY_WORDS;
    *entry_at(m, offset) = head;
    memcpy(known, c->known, c->known_words * sizeof *known);
    if (c->unknown_words > 0) {
        memcpy(known + c->known_words, c->unknown, c->unknown_words * sizeof *known);
    }
    m->words += ENTRY_WORDS + c->known_words + c->unknown_words;
    ASSERT(m->words <= m->words_capacity);
    return offset;
}

enum lin_memo_answer lin_memo_visit(struct lin_memo *m, const struct lin_configuration *c,
                                    uint64_t *steps)
{
    struct entry head = {
        .hash = hash_of(c),
        .state = c->state,
        .known_first = c->known_first,
        .known_words = c->known_words,
        .unknown_words = c->unknown_words,
    };
    if (!make_room(m, (size_t)ENTRY_WORDS + c->known_words + c->unknown_words)) {
        return LIN_MEMO_FULL;
    }
    uint64_t *slot = slot_of(m, head.hash);
    for (uint64_t at = *slot; at != 0; at = entry_at(m, at)->next) {
        ++*steps;
        if (covers(entry_at(m, at), c)) {
            return LIN_MEMO_SEEN;
        }
    }
    m->hashes += *slot == 0;
    head.next = *slot;
    *slot = append(m, c, head);
    return LIN_MEMO_NEW;
}
