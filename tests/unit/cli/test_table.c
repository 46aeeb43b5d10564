/* Tables for people, and looking into answers. */
#include "check.h"

#include "cli/table.h"
#include "cli/view.h"
#include "wire/writer.h"

static void assert_prints(const struct table *t, const char *expected)
{
    char *text = NULL;
    size_t size = 0;
    FILE *out = open_memstream(&text, &size);
    table_print(t, out);
    fclose(out);
    assert_string_equal(text, expected);
    free(text);
}

static void columns_are_as_wide_as_they_need_to_be(void **state)
{
    (void)state;
    struct table *t = table_new("NODE|>LAG|ADDRESS", false);
    table_cell(t, TABLE_PLAIN, "n1");
    table_cell(t, TABLE_GOOD, "%d", 12345);
    table_cell(t, TABLE_PLAIN, "127.0.0.1:7117");
    table_cell(t, TABLE_PLAIN, "größer");
    table_cell(t, TABLE_PLAIN, "0");
    table_cell(t, TABLE_PLAIN, "x");
    assert_prints(t, "NODE      LAG  ADDRESS\n"
                     "n1      12345  127.0.0.1:7117\n"
                     "größer      0  x\n");
    table_free(t);
}

static void colour_takes_no_room_and_is_off_unless_asked_for(void **state)
{
    (void)state;
    struct table *t = table_new("A|B", true);
    table_cell(t, TABLE_BAD, "x");
    table_cell(t, TABLE_PLAIN, "y");
    assert_prints(t, "\033[1mA\033[0m  \033[1mB\033[0m\n\033[31mx\033[0m  y\n");
    table_free(t);
}

static void what_others_stored_does_not_command_the_terminal(void **state)
{
    (void)state;
    struct table *t = table_new("KEY", false);
    table_cell(t, TABLE_PLAIN, "%s", "a\033[31m\nb\x7f");
    assert_prints(t, "KEY\na\\x1b[31m\\x0ab\\x7f\n");
    table_free(t);
}

static void a_row_that_is_cut_short_ends(void **state)
{
    (void)state;
    struct table *t = table_new("A|B", false);
    table_cell(t, TABLE_PLAIN, "1");
    assert_prints(t, "A  B\n1  \n");
    table_free(t);
    t = table_new("A|B", false);
    assert_prints(t, "A  B\n");
    table_free(t);
}

static void values_are_found_in_maps(void **state)
{
    (void)state;
    struct buffer b = {0};
    char text[8];
    write_map(&b, 6);
    write_text(&b, "n");
    write_u64(&b, UINT64_MAX);
    write_text(&b, "f");
    write_f64(&b, 2.0);
    write_text(&b, "t");
    write_text(&b, "far too long");
    write_text(&b, "yes");
    write_bool(&b, true);
    write_text(&b, "nil");
    write_nil(&b);
    write_text(&b, "list");
    write_array(&b, 2);
    write_text(&b, "a");
    write_u64(&b, 7);
    struct bytes map = buffer_bytes(&b), list = view_get(map, "list");
    assert_true(view_u64(map, "n") == UINT64_MAX);
    assert_int_equal(view_u64(map, "f"), 2);
    assert_string_equal(view_text(map, "t", text, sizeof text), "far too");
    assert_true(view_bool(map, "yes"));
    assert_true(view_is_nil(view_get(map, "nil")));
    assert_int_equal(view_count(list), 2);
    assert_string_equal(view_as_text(view_at(list, 0), text, sizeof text), "a");
    buffer_close(&b);
}

static void what_is_not_there_or_of_another_type_reads_as_nothing(void **state)
{
    (void)state;
    struct buffer b = {0};
    char text[8];
    write_map(&b, 1);
    write_text(&b, "n");
    write_i64(&b, -1);
    struct bytes map = buffer_bytes(&b);
    assert_int_equal(view_u64(map, "n"), 0);
    assert_false(view_bool(map, "n"));
    assert_string_equal(view_text(map, "n", text, sizeof text), "");
    assert_int_equal(view_get(map, "x").size, 0);
    assert_true(view_is_nil(view_get(map, "x")));
    assert_int_equal(view_at(map, 0).size, 0);
    for (size_t size = 0; size < map.size; size++) { /* cut anywhere */
        view_u64(bytes_of(map.data, size), "n");
        view_at(bytes_of(map.data, size), 0);
    }
    assert_int_equal(view_get(bytes_of("\x91\x01", 2), "n").size, 0);
    assert_int_equal(view_count(bytes_of("\x01", 1)), 0);
    buffer_close(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(columns_are_as_wide_as_they_need_to_be),
        cmocka_unit_test(colour_takes_no_room_and_is_off_unless_asked_for),
        cmocka_unit_test(what_others_stored_does_not_command_the_terminal),
        cmocka_unit_test(a_row_that_is_cut_short_ends),
        cmocka_unit_test(values_are_found_in_maps),
        cmocka_unit_test(what_is_not_there_or_of_another_type_reads_as_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
