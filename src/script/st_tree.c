#include "script/st_tree.h"

#include <string.h>

#include "base/assert.h"
#include "script/st_inline.h"
#include "script/st_path.h"
#include "wire/writer.h"

/* The value of a spread table's own entry: a code that MessagePack never uses, then whether it is
 * an array without elements (what it is with elements, they show). */
enum { MARKER = 0xc1, MARKER_BYTES = 2, MARKER_MAP = 0, MARKER_EMPTY_ARRAY = 1 };
enum { BEYOND_SUBTREE = 0xff, BEFORE_SUBTREE = 0x01 };
enum { SPEND_PER_ENTRY = 8, DELETE_AT_ONCE = 256 };

void st_tree_close(struct st_tree *t)
{
    buffer_close(&t->path);
    buffer_close(&t->rewritten);
    buffer_close(&t->scratch);
}

static bool is_marker(struct bytes value)
{
    return value.size == MARKER_BYTES && value.data[0] == MARKER;
}

static struct st_node node_of(struct bytes value)
{
    if (is_marker(value)) {
        return (struct st_node){.kind = ST_SPREAD};
    }
    return (struct st_node){.kind = st_inline_is_table(value) ? ST_INLINE : ST_SCALAR,
                            .value = value};
}

static struct bytes path_from(const struct st_tree *t)
{
    return buffer_bytes(&t->path);
}

/* t->path = table, key. */
static void path_of_child(struct st_tree *t, struct bytes table, const struct value_key *key)
{
    buffer_clear(&t->path);
    buffer_add_bytes(&t->path, table);
    st_path_add(&t->path, key);
}

/* Where each component of path ends; [0] is the root. Returns how many there are. */
static size_t path_ends(struct st_tree *t, struct bytes path, size_t ends[VALUE_DEPTH_MAX + 2])
{
    size_t count = 0;
    ends[0] = t->root_bytes;
    while (ends[count] < path.size && count <= VALUE_DEPTH_MAX) {
        struct value_key key;
        struct bytes rest = bytes_of(path.data + ends[count], path.size - ends[count]);
        size_t size = st_path_parse(rest, &key, &t->scratch);
        ASSERT(size > 0); /* paths are built by st_path_add only */
        ends[count + 1] = ends[count] + size;
        count++;
    }
    return count;
}

/* What is at the rest of a path within an inline table. */
static struct st_node find_inline(struct st_tree *t, struct bytes table, struct bytes rest)
{
    struct st_node node = {.kind = ST_INLINE, .value = table};
    while (rest.size > 0) {
        struct value_key key;
        size_t size = st_path_parse(rest, &key, &t->scratch);
        ASSERT(size > 0);
        if (node.kind != ST_INLINE || !st_inline_get(node.value, &key, &node.value)) {
            return (struct st_node){.kind = ST_ABSENT};
        }
        node = node_of(node.value);
        rest = bytes_of(rest.data + size, rest.size - size);
    }
    return node;
}

/* The entry of the state that holds what is at path: its own, or the inline table that path leads
 * into. *at_bytes is the length of that entry's key. */
static bool find_entry(struct st_tree *t, struct bytes path, size_t *at_bytes, struct bytes *value)
{
    if (state_get(t->state, path, value)) {
        *at_bytes = path.size;
        return true;
    }
    size_t ends[VALUE_DEPTH_MAX + 2];
    for (size_t i = path_ends(t, path, ends); i-- > 1;) {
        if (state_get(t->state, bytes_of(path.data, ends[i]), value)) {
            *at_bytes = ends[i];
            return node_of(*value).kind == ST_INLINE;
        }
    }
    return false;
}

struct st_node st_tree_find(struct st_tree *t, struct bytes path)
{
    if (path.size == t->root_bytes) {
        return (struct st_node){.kind = ST_SPREAD};
    }
    size_t at_bytes;
    struct bytes value;
    if (!find_entry(t, path, &at_bytes, &value)) {
        return (struct st_node){.kind = ST_ABSENT};
    }
    if (at_bytes == path.size) {
        return node_of(value);
    }
    return find_inline(t, value, bytes_of(path.data + at_bytes, path.size - at_bytes));
}

/* What the table at *table is, without a look if it is known to be spread. */
static struct st_node find_table(struct st_tree *t, struct st_place *table)
{
    if (table->spread_epoch == t->epoch + 1) {
        return (struct st_node){.kind = ST_SPREAD};
    }
    struct st_node node = st_tree_find(t, table->path);
    table->spread_epoch = node.kind == ST_SPREAD ? t->epoch + 1 : 0;
    return node;
}

struct st_node st_tree_get(struct st_tree *t, struct st_place *table, const struct value_key *key)
{
    struct st_node node = find_table(t, table);
    struct bytes value;
    if (node.kind == ST_SPREAD) {
        path_of_child(t, table->path, key);
        return state_get(t->state, path_from(t), &value) ? node_of(value)
                                                         : (struct st_node){.kind = ST_ABSENT};
    }
    if (node.kind != ST_INLINE) {
        return (struct st_node){.kind = ST_NO_TABLE};
    }
    return st_inline_get(node.value, key, &value) ? node_of(value)
                                                  : (struct st_node){.kind = ST_ABSENT};
}

/* ---- writing ------------------------------------------------------------------------------- */

static enum err put(struct st_tree *t, struct bytes value);

static enum err put_marker(struct st_tree *t, bool empty_array)
{
    const uint8_t marker[MARKER_BYTES] = {MARKER, empty_array ? MARKER_EMPTY_ARRAY : MARKER_MAP};
    return state_set(t->state, path_from(t), bytes_of(marker, sizeof marker));
}

/* Store the table at t->path, which is restored, one entry per element. */
static enum err spread(struct st_tree *t, struct bytes table)
{
    struct st_elements e = st_elements_of(table);
    enum err failed = put_marker(t, e.array && e.left == 0);
    size_t size = t->path.size;
    struct value_key key;
    struct bytes value;
    while (failed == ERR_OK && st_elements_next(&e, &key, &value)) {
        st_path_add(&t->path, &key);
        failed = put(t, value);
        t->path.size = size;
    }
    return failed;
}

/* Store value at t->path, where nothing is now, or a scalar or inline table. */
static enum err put(struct st_tree *t, struct bytes value)
{
    if (!meter_spend(t->meter, SPEND_PER_ENTRY)) {
        return ERR_TIMEOUT;
    }
    if (st_inline_is_table(value) &&
        (value.size > ST_INLINE_BYTES_MAX || st_elements_of(value).left == 0)) {
        return spread(t, value);
    }
    return state_set(t->state, path_from(t), value);
}

/* Make way for a write to t->path: delete the spread table that is there, if one is. */
static enum err make_way(struct st_tree *t)
{
    struct bytes old;
    if (!state_get(t->state, path_from(t), &old) || !is_marker(old)) {
        return ERR_OK; /* a write replaces it */
    }
    t->epoch++;
    size_t deleted;
    do {
        deleted = state_delete_prefix(t->state, path_from(t), DELETE_AT_ONCE);
        if (!meter_spend(t->meter, deleted * SPEND_PER_ENTRY)) {
            return ERR_TIMEOUT;
        }
    } while (deleted == DELETE_AT_ONCE);
    return ERR_OK;
}

/* A table that loses its last element is no array without elements, even if it began as one. (To
 * know that this is its last would cost more than to say so every time.) */
static enum err unmark_array(struct st_tree *t, struct bytes table)
{
    struct bytes marker;
    if (table.size == t->root_bytes || !state_get(t->state, table, &marker) ||
        marker.data[1] != MARKER_EMPTY_ARRAY) {
        return ERR_OK;
    }
    buffer_clear(&t->path);
    buffer_add_bytes(&t->path, table);
    return put_marker(t, false);
}

static enum err set_spread(struct st_tree *t, struct bytes table, const struct value_key *key,
                           struct bytes value)
{
    path_of_child(t, table, key);
    if (t->path.size > STATE_KEY_BYTES_MAX) {
        return ERR_TOO_LARGE;
    }
    enum err e = make_way(t);
    if (e != ERR_OK) {
        return e;
    }
    if (value.size > 0) {
        return put(t, value);
    }
    state_delete(t->state, path_from(t));
    return unmark_array(t, table);
}

/* Append to out the inline table with value at key of the table that rest leads to. */
static enum err rewrite(struct bytes table, struct bytes rest, const struct value_key *key,
                        struct bytes value, struct buffer *out)
{
    if (rest.size == 0) {
        st_inline_put(table, key, value, out);
        return ERR_OK;
    }
    struct buffer scratch = {0};
    struct buffer inner = {0};
    struct value_key step;
    struct bytes child;
    enum err e = ERR_NOT_FOUND;
    size_t size = st_path_parse(rest, &step, &scratch);
    ASSERT(size > 0);
    if (st_inline_get(table, &step, &child) && st_inline_is_table(child)) {
        struct bytes below = bytes_of(rest.data + size, rest.size - size);
        e = rewrite(child, below, key, value, &inner);
    }
    if (e == ERR_OK) {
        st_inline_put(table, &step, buffer_bytes(&inner), out);
    }
    buffer_close(&inner);
    buffer_close(&scratch);
    return e;
}

static enum err set_inline(struct st_tree *t, struct bytes table, const struct value_key *key,
                           struct bytes value)
{
    size_t at_bytes;
    struct bytes whole;
    if (!find_entry(t, table, &at_bytes, &whole)) {
        return ERR_NOT_FOUND;
    }
    buffer_clear(&t->rewritten);
    struct bytes rest = bytes_of(table.data + at_bytes, table.size - at_bytes);
    enum err e = rewrite(whole, rest, key, value, &t->rewritten);
    if (e != ERR_OK) {
        return e;
    }
    buffer_clear(&t->path);
    buffer_add(&t->path, table.data, at_bytes);
    return put(t, buffer_bytes(&t->rewritten));
}

enum err st_tree_set(struct st_tree *t, struct st_place *table, const struct value_key *key,
                     struct bytes value)
{
    if (!meter_spend(t->meter, SPEND_PER_ENTRY + value.size / 64)) {
        return ERR_TIMEOUT;
    }
    switch (find_table(t, table).kind) {
    case ST_SPREAD:
        return set_spread(t, table->path, key, value);
    case ST_INLINE:
        return set_inline(t, table->path, key, value);
    default:
        return ERR_NOT_FOUND;
    }
}

/* ---- reading ------------------------------------------------------------------------------- */

static bool next_inline(struct bytes table, struct st_from from, struct value_key *key,
                        struct bytes *value)
{
    struct st_elements e = st_elements_of(table);
    while (st_elements_next(&e, key, value)) {
        int order = from.key == NULL ? 1 : value_key_compare(key, from.key);
        if (order > 0 || (order == 0 && from.inclusive)) {
            return true;
        }
    }
    return false;
}

static bool begins_with(struct bytes key, struct bytes prefix)
{
    return key.size >= prefix.size && memcmp(key.data, prefix.data, prefix.size) == 0;
}

/* The key under which the element at c is in the table; false if it is none of the table's. */
static bool element_key(struct st_tree *t, const struct state_cursor *c, struct bytes table,
                        struct value_key *key)
{
    if (!begins_with(c->key, table) || c->key.size == table.size) {
        return false;
    }
    struct bytes rest = bytes_of(c->key.data + table.size, c->key.size - table.size);
    size_t size = st_path_parse(rest, key, &t->scratch);
    ASSERT(size == rest.size); /* seeks go to an element's own entry, never below one */
    return true;
}

/* Go to the first element after (or at) from. */
static bool seek_element(struct st_tree *t, struct state_cursor *c, struct bytes table,
                         struct st_from from)
{
    if (from.key == NULL) {
        buffer_clear(&t->path);
        buffer_add_bytes(&t->path, table);
        buffer_add_u8(&t->path, BEFORE_SUBTREE);
    } else {
        path_of_child(t, table, from.key);
        if (!from.inclusive) {
            buffer_add_u8(&t->path, BEYOND_SUBTREE);
        }
    }
    return state_seek(c, t->state, path_from(t));
}

bool st_tree_next(struct st_tree *t, struct st_place *table, struct st_from from,
                  struct value_key *key, struct st_node *node)
{
    struct st_node found = find_table(t, table);
    if (found.kind == ST_INLINE) {
        struct bytes value;
        bool more = next_inline(found.value, from, key, &value);
        *node = more ? node_of(value) : (struct st_node){.kind = ST_ABSENT};
        return more;
    }
    if (found.kind != ST_SPREAD) {
        *node = (struct st_node){.kind = ST_NO_TABLE};
        return false;
    }
    struct state_cursor c;
    if (!seek_element(t, &c, table->path, from) || !element_key(t, &c, table->path, key)) {
        *node = (struct st_node){.kind = ST_ABSENT};
        return false;
    }
    *node = node_of(c.value);
    return true;
}

/* Step from an element to the next one, over all that is below it. */
static bool next_element(struct st_tree *t, struct state_cursor *c)
{
    if (!is_marker(c->value)) {
        return state_next(c);
    }
    buffer_clear(&t->path);
    buffer_add_bytes(&t->path, c->key);
    buffer_add_u8(&t->path, BEYOND_SUBTREE);
    return state_seek(c, t->state, path_from(t));
}

enum err st_tree_length(struct st_tree *t, struct st_place *table, uint64_t *length)
{
    *length = 0;
    struct st_node node = find_table(t, table);
    if (node.kind == ST_INLINE) {
        /* Canonical: a map with the key 1 has a hole or other keys. */
        struct st_elements e = st_elements_of(node.value);
        struct value_key key;
        struct bytes value;
        while (st_elements_next(&e, &key, &value) && key.kind == VALUE_KEY_INTEGER &&
               key.integer <= (int64_t)*length + 1) {
            *length += key.integer == (int64_t)*length + 1 ? 1 : 0;
        }
        return ERR_OK;
    }
    if (node.kind != ST_SPREAD) {
        return ERR_NOT_FOUND;
    }
    struct value_key key = {.kind = VALUE_KEY_INTEGER, .integer = 1};
    struct st_from first = {.key = &key, .inclusive = true};
    struct state_cursor c;
    bool more = seek_element(t, &c, table->path, first);
    while (more && element_key(t, &c, table->path, &key) && key.kind == VALUE_KEY_INTEGER &&
           key.integer == (int64_t)*length + 1) {
        if (!meter_spend(t->meter, 1)) {
            return ERR_TIMEOUT;
        }
        (*length)++;
        more = next_element(t, &c);
    }
    return ERR_OK;
}

/* ---- encoding ------------------------------------------------------------------------------ */

/* One spread table after the other, in the order of the state: one cursor for all of them. */
struct encoding {
    struct st_tree *t;
    struct state_cursor cursor;
    bool more;
    struct buffer *out;
    size_t end_bytes_max;
};

static enum err check_room(struct encoding *en, size_t more_bytes)
{
    if (!meter_spend(en->t->meter, 1 + more_bytes / 64)) {
        return ERR_TIMEOUT;
    }
    size_t size = en->out->size;
    return size > en->end_bytes_max || more_bytes > en->end_bytes_max - size ? ERR_TOO_LARGE
                                                                             : ERR_OK;
}

/* How many elements the table has, and whether they are 1..n. */
static enum err count_elements(struct encoding *en, struct bytes table, uint32_t *count,
                               bool *sequence)
{
    struct st_tree *t = en->t;
    struct state_cursor c;
    struct value_key key;
    *count = 0;
    *sequence = true;
    bool more = seek_element(t, &c, table, (struct st_from){.key = NULL});
    while (more && element_key(t, &c, table, &key)) {
        if (*count == UINT32_MAX || !meter_spend(t->meter, 1)) {
            return ERR_TIMEOUT;
        }
        (*count)++;
        *sequence = *sequence && key.kind == VALUE_KEY_INTEGER && key.integer == (int64_t)*count;
        more = next_element(t, &c);
    }
    return ERR_OK;
}

/* Encode the spread table at path, whose first element (if any) the cursor is at. */
static enum err encode_spread(struct encoding *en, struct bytes path, bool empty_array)
{
    uint32_t count;
    bool sequence;
    enum err e = count_elements(en, path, &count, &sequence);
    if (e == ERR_OK) {
        e = check_room(en, 5); /* the longest head */
    }
    if (e != ERR_OK) {
        return e;
    }
    bool array = count == 0 ? empty_array : sequence;
    if (array) {
        write_array(en->out, count);
    } else {
        write_map(en->out, count);
    }
    for (uint32_t i = 0; e == ERR_OK && i < count; i++) {
        ASSERT(en->more); /* counted just now */
        struct value_key key;
        bool is_element = element_key(en->t, &en->cursor, path, &key);
        ASSERT(is_element);
        struct bytes at = en->cursor.key;
        struct bytes value = en->cursor.value;
        e = check_room(en, at.size - path.size + value.size);
        if (e != ERR_OK) {
            return e;
        }
        if (!array) {
            value_key_write(en->out, &key);
        }
        en->more = state_next(&en->cursor);
        if (is_marker(value)) {
            e = encode_spread(en, at, value.data[1] == MARKER_EMPTY_ARRAY);
        } else {
            write_raw(en->out, value);
        }
    }
    return e;
}

enum err st_tree_encode(struct st_tree *t, struct bytes path, size_t bytes_max, struct buffer *out)
{
    size_t start = out->size;
    struct encoding en = {
        .t = t,
        .out = out,
        .end_bytes_max = bytes_max > SIZE_MAX - start ? SIZE_MAX : start + bytes_max,
    };
    struct st_node node = st_tree_find(t, path);
    enum err e = ERR_NOT_FOUND;
    if (node.kind == ST_SPREAD) {
        struct bytes marker;
        bool empty_array = path.size > t->root_bytes && state_get(t->state, path, &marker) &&
                           marker.data[1] == MARKER_EMPTY_ARRAY;
        en.more = seek_element(t, &en.cursor, path, (struct st_from){.key = NULL});
        e = encode_spread(&en, path, empty_array);
    } else if (node.kind != ST_ABSENT) {
        e = check_room(&en, node.value.size);
        if (e == ERR_OK) {
            write_raw(out, node.value);
        }
    }
    if (e != ERR_OK) {
        out->size = start;
    }
    return e;
}
