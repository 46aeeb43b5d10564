/* Log entries and memberships. */
#include "check.h"

#include "wire/entry.h"
#include "wire/membership.h"
#include "wire/writer.h"

static struct entry sample(void)
{
    struct entry e = {.kind = ENTRY_COMMAND,
                      .machine = bytes_of_string("kv"),
                      .seq = 1234567,
                      .time_ms = 1700000000123,
                      .payload = bytes_of_string("a payload")};
    memset(e.session, 0xab, sizeof e.session);
    return e;
}

static enum err decode_entry(struct bytes input)
{
    struct entry out;
    return entry_decode(input, &out);
}

static void an_entry_comes_back_as_it_was(void **state)
{
    (void)state;
    for (unsigned kind = 0; kind < ENTRY_KIND_COUNT; kind++) {
        struct entry e = sample();
        e.kind = (enum entry_kind)kind;
        struct buffer b = {0};
        entry_encode(&e, &b);
        struct entry back;
        assert_int_equal(entry_decode(buffer_bytes(&b), &back), ERR_OK);
        assert_int_equal(back.kind, e.kind);
        assert_bytes(back.machine, e.machine);
        assert_memory_equal(back.session, e.session, sizeof e.session);
        assert_true(back.seq == e.seq);
        assert_true(back.time_ms == e.time_ms);
        assert_bytes(back.payload, e.payload);
        assert_int_equal(entry_kind_of(buffer_bytes(&b)), kind);
        buffer_close(&b);
    }
}

static void an_entry_without_session_is_small(void **state)
{
    (void)state;
    struct entry noop = {.kind = ENTRY_NOOP, .time_ms = 0};
    struct buffer b = {0};
    entry_encode(&noop, &b);
    assert_int_equal(b.size, 9);
    struct entry back;
    assert_int_equal(entry_decode(buffer_bytes(&b), &back), ERR_OK);
    assert_true(back.time_ms == 0);
    assert_int_equal(back.session[0], 0);
    buffer_close(&b);
}

static void only_a_whole_entry_is_one(void **state)
{
    (void)state;
    struct entry e = sample();
    struct buffer b = {0};
    entry_encode(&e, &b);
    assert_whole_only(buffer_bytes(&b), decode_entry);
    assert_survives_any_byte(buffer_bytes(&b), decode_entry);
    buffer_close(&b);
}

static void each_kind_has_a_name_of_its_own(void **state)
{
    (void)state;
    for (unsigned a = 0; a <= ENTRY_KIND_COUNT; a++) {
        for (unsigned b = 0; b < a; b++) {
            assert_string_not_equal(entry_kind_name((enum entry_kind)a),
                                    entry_kind_name((enum entry_kind)b));
        }
    }
    assert_string_equal(entry_kind_name(ENTRY_NOOP), "noop");
    assert_string_equal(entry_kind_name(ENTRY_KIND_COUNT), "unknown");
}

static void the_kind_of_other_bytes_is_none(void **state)
{
    (void)state;
    assert_int_equal(entry_kind_of(bytes_of("", 0)), ENTRY_KIND_COUNT);
    assert_int_equal(entry_kind_of(bytes_of("\x96", 1)), ENTRY_KIND_COUNT);
    assert_int_equal(entry_kind_of(bytes_of("\x95\x00", 2)), ENTRY_KIND_COUNT);
    assert_int_equal(entry_kind_of(bytes_of("\x96\x05", 2)), ENTRY_KIND_COUNT);
}

static void a_machine_name_or_session_of_another_size_is_refused(void **state)
{
    (void)state;
    char name[ENTRY_MACHINE_NAME_MAX + 2] = {0};
    memset(name, 'm', ENTRY_MACHINE_NAME_MAX + 1);
    static const size_t session_sizes[] = {0, 15, 16, 17};
    static const enum err verdicts[] = {ERR_OK, ERR_INVALID, ERR_OK, ERR_TOO_LARGE};
    struct buffer b = {0};
    for (unsigned i = 0; i < 4; i++) {
        buffer_clear(&b);
        write_array(&b, 6);
        write_u64(&b, 1);
        write_text(&b, name + 1);
        write_bin(&b, bytes_of(name, session_sizes[i]));
        write_u64(&b, 0);
        write_u64(&b, 0);
        write_bin(&b, bytes_of("", 0));
        assert_int_equal(decode_entry(buffer_bytes(&b)), verdicts[i]);
    }
    buffer_clear(&b);
    write_array(&b, 6);
    write_u64(&b, 1);
    write_text(&b, name);
    write_bin(&b, bytes_of("", 0));
    write_u64(&b, 0);
    write_u64(&b, 0);
    write_bin(&b, bytes_of("", 0));
    assert_int_equal(decode_entry(buffer_bytes(&b)), ERR_TOO_LARGE);
    buffer_close(&b);
}

/* ---- memberships ---- */

static struct membership three(void)
{
    struct membership m = {.count = 3};
    for (uint32_t i = 0; i < m.count; i++) {
        snprintf(m.at[i].name, sizeof m.at[i].name, "n%u", i + 1);
        snprintf(m.at[i].address, sizeof m.at[i].address, "127.0.0.1:71%u8", i + 1);
        m.at[i].id = membership_id(m.at[i].name);
        m.at[i].voter = i != 2;
    }
    membership_remember(&m, 77);
    membership_remember(&m, 78);
    return m;
}

static enum err decode_membership(struct bytes input)
{
    struct membership out;
    return membership_decode(input, &out);
}

static void a_membership_comes_back_as_it_was(void **state)
{
    (void)state;
    struct membership m = three();
    struct buffer b = {0};
    membership_encode(&m, &b);
    struct membership back;
    assert_int_equal(membership_decode(buffer_bytes(&b), &back), ERR_OK);
    assert_int_equal(back.count, 3);
    for (uint32_t i = 0; i < 3; i++) {
        assert_true(back.at[i].id == m.at[i].id);
        assert_string_equal(back.at[i].name, m.at[i].name);
        assert_string_equal(back.at[i].address, m.at[i].address);
        assert_int_equal(back.at[i].voter, m.at[i].voter);
    }
    assert_int_equal(back.removed_count, 2);
    assert_true(membership_was_removed(&back, 78));
    assert_false(membership_was_removed(&back, 79));
    struct raft_members members;
    membership_to_raft(&back, &members);
    assert_int_equal(members.count, 3);
    assert_true(members.at[1].id == membership_id("n2"));
    assert_true(members.at[1].voter);
    assert_false(members.at[2].voter);
    assert_ptr_equal(membership_find(&back, membership_id("n3")), &back.at[2]);
    assert_null(membership_find_name(&back, "n4"));
    assert_whole_only(buffer_bytes(&b), decode_membership);
    assert_survives_any_byte(buffer_bytes(&b), decode_membership);
    buffer_close(&b);
}

static void a_member_twice_or_without_name_is_refused(void **state)
{
    (void)state;
    struct buffer b = {0};
    struct membership m = three();
    m.at[2].id = m.at[0].id;
    membership_encode(&m, &b);
    assert_int_equal(decode_membership(buffer_bytes(&b)), ERR_INVALID);
    m = three();
    strcpy(m.at[2].name, "n1");
    buffer_clear(&b);
    membership_encode(&m, &b);
    assert_int_equal(decode_membership(buffer_bytes(&b)), ERR_INVALID);
    m = three();
    m.at[1].name[0] = 0;
    buffer_clear(&b);
    membership_encode(&m, &b);
    assert_int_equal(decode_membership(buffer_bytes(&b)), ERR_INVALID);
    m = three();
    m.at[1].id = 0;
    buffer_clear(&b);
    membership_encode(&m, &b);
    assert_int_equal(decode_membership(buffer_bytes(&b)), ERR_INVALID);
    m = three();
    m.removed[1] = m.at[0].id; /* removed, and a member */
    buffer_clear(&b);
    membership_encode(&m, &b);
    assert_int_equal(decode_membership(buffer_bytes(&b)), ERR_INVALID);
    buffer_close(&b);
}

static void of_too_many_that_were_removed_the_oldest_is_forgotten(void **state)
{
    (void)state;
    struct membership m = {0};
    for (raft_id id = 1; id <= MEMBERSHIP_REMOVED_MAX + 1; id++) {
        membership_remember(&m, id);
    }
    assert_int_equal(m.removed_count, MEMBERSHIP_REMOVED_MAX);
    assert_false(membership_was_removed(&m, 1));
    assert_true(membership_was_removed(&m, 2));
    membership_forgive(&m, 2);
    assert_false(membership_was_removed(&m, 2));
    assert_true(membership_was_removed(&m, 3));
}

static void too_many_members_and_other_versions_are_refused(void **state)
{
    (void)state;
    struct buffer b = {0};
    write_array(&b, 3);
    write_u64(&b, 1);
    write_array(&b, RAFT_MEMBERS_MAX + 1);
    for (unsigned i = 0; i <= RAFT_MEMBERS_MAX; i++) {
        char name[16];
        snprintf(name, sizeof name, "n%u", i);
        write_array(&b, 4);
        write_u64(&b, i + 1);
        write_text(&b, name);
        write_text(&b, "");
        write_bool(&b, true);
    }
    write_array(&b, 0);
    assert_int_equal(decode_membership(buffer_bytes(&b)), ERR_INVALID);
    buffer_clear(&b);
    write_array(&b, 3);
    write_u64(&b, 2);
    write_array(&b, 0);
    write_array(&b, 0);
    assert_int_equal(decode_membership(buffer_bytes(&b)), ERR_VERSION);
    buffer_close(&b);
}

static void a_name_always_has_the_same_id_which_is_not_nobody(void **state)
{
    (void)state;
    assert_true(membership_id("n1") == membership_id("n1"));
    assert_true(membership_id("n1") != membership_id("n2"));
    assert_true(membership_id("") != 0);
    /* Ids are on disk and on the wire: this one must never change. */
    assert_true(membership_id("n1") == UINT64_C(0xd733a26dd4b49b94));
}

static void a_time_that_cannot_be_is_refused(void **state)
{
    (void)state;
    const int64_t times[] = {-1, INT64_MIN, ENTRY_TIME_MS_MAX + 1, INT64_MAX};
    for (size_t i = 0; i < sizeof times / sizeof times[0]; i++) {
        struct buffer body = {0};
        struct entry e = {.kind = ENTRY_NOOP, .time_ms = times[i]};
        entry_encode(&e, &body);
        assert_int_equal(entry_decode(buffer_bytes(&body), &e), ERR_INVALID);
        buffer_close(&body);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_time_that_cannot_be_is_refused),
        cmocka_unit_test(an_entry_comes_back_as_it_was),
        cmocka_unit_test(an_entry_without_session_is_small),
        cmocka_unit_test(only_a_whole_entry_is_one),
        cmocka_unit_test(each_kind_has_a_name_of_its_own),
        cmocka_unit_test(the_kind_of_other_bytes_is_none),
        cmocka_unit_test(a_machine_name_or_session_of_another_size_is_refused),
        cmocka_unit_test(a_membership_comes_back_as_it_was),
        cmocka_unit_test(a_member_twice_or_without_name_is_refused),
        cmocka_unit_test(of_too_many_that_were_removed_the_oldest_is_forgotten),
        cmocka_unit_test(too_many_members_and_other_versions_are_refused),
        cmocka_unit_test(a_name_always_has_the_same_id_which_is_not_nobody),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
