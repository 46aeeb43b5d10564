#include "guardian/page.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static const uint8_t first[16] = {1}, second[16] = {2};

static struct guardian_page *mapped(void)
{
    struct guardian_page *page;
    assert_int_equal(page_map(&page, NULL), ERR_OK);
    return page;
}

static void only_the_first_start_is_under_a_new_guardian(void **state)
{
    (void)state;
    struct guardian_page *page = mapped();
    page_prepare(page, first);
    assert_true(page->guardian_is_new);
    assert_int_equal(page->starts, 1);
    page_prepare(page, second);
    assert_false(page->guardian_is_new);
    assert_memory_equal(page->incarnation, second, sizeof second);
    page_unmap(page);
}

static void a_promise_outlives_the_node(void **state)
{
    (void)state;
    struct guardian_page *page = mapped();
    page_prepare(page, first);
    page->promise = (struct guardian_promise){.leader = 7, .term = 3, .until_us = 99};
    atomic_fetch_add(&page->promise_seq, 2);
    page_prepare(page, second);
    assert_int_equal(page->promise.leader, 7);
    assert_int_equal(page->promise.until_us, 99);
    page_unmap(page);
}

static void a_half_written_promise_counts_as_forgotten(void **state)
{
    (void)state;
    struct guardian_page *page = mapped();
    page_prepare(page, first);
    page->promise.leader = 7;
    atomic_store(&page->promise_seq, 5); /* killed while writing */
    page_prepare(page, second);
    assert_true(page->guardian_is_new);
    assert_int_equal(page->promise.leader, 0);
    assert_int_equal(atomic_load(&page->promise_seq), 6);
    page_unmap(page);
}

static void peers_are_read_once_per_change_and_never_torn(void **state)
{
    (void)state;
    struct guardian_page *page = mapped();
    struct guardian_peer peers[GUARDIAN_PEERS_MAX];
    uint32_t seen = 0, count = 0;
    page_prepare(page, first);
    assert_false(page_read_peers(page, &seen, peers, &count));

    page->peers_count = 1;
    strcpy(page->peers[0].name, "n2");
    atomic_store(&page->peers_seq, 2);
    assert_true(page_read_peers(page, &seen, peers, &count));
    assert_int_equal(count, 1);
    assert_string_equal(peers[0].name, "n2");
    assert_false(page_read_peers(page, &seen, peers, &count));

    atomic_store(&page->peers_seq, 3);
    assert_false(page_read_peers(page, &seen, peers, &count));
    page_unmap(page);
}

static void peers_that_cannot_be_are_not_believed(void **state)
{
    (void)state;
    struct guardian_page *page = mapped();
    struct guardian_peer peers[GUARDIAN_PEERS_MAX];
    uint32_t seen = 0, count = 0;
    page_prepare(page, first);
    page->peers_count = GUARDIAN_PEERS_MAX + 1;
    atomic_store(&page->peers_seq, 2);
    assert_false(page_read_peers(page, &seen, peers, &count));

    page->peers_count = 1;
    memset(page->peers[0].address, 'x', sizeof page->peers[0].address);
    atomic_store(&page->peers_seq, 4);
    assert_true(page_read_peers(page, &seen, peers, &count));
    assert_int_equal(strlen(peers[0].address), GUARDIAN_ADDRESS_MAX - 1);
    page_unmap(page);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_the_first_start_is_under_a_new_guardian),
        cmocka_unit_test(a_promise_outlives_the_node),
        cmocka_unit_test(a_half_written_promise_counts_as_forgotten),
        cmocka_unit_test(peers_are_read_once_per_change_and_never_torn),
        cmocka_unit_test(peers_that_cannot_be_are_not_believed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
