/* mk.cron in scripts: zones are given by the host, errors are for whoever wrote the expression. */
#include "host_fixture.h"

#include "net/system_zones.h"

static uint32_t reads;

static enum err count_reads(void *ctx, const char *name, void *out, size_t capacity, size_t *size,
                            struct why *why)
{
    (void)ctx;
    reads++;
    return system_zones()->read(NULL, name, out, capacity, size, why);
}

static void with_zones(struct fixture *f, const struct zones_port *zones)
{
    fixture_init(f);
    struct script_options options = fixture_options(f);
    options.zones = zones;
    f->host = script_host_new(&options);
}

static void a_script_sleeps_until_it_is_due(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f); /* the wall says 2023-11-14 22:13:21 */
    load(&f, "local mk = require 'moonkeeper'\n"
             "mk.task.sleep_until(mk.cron.next('*/5 * * * *'))\n"
             "mk.log.info('it is ' .. os.date('!%R:%S', mk.time.wall_ms() // 1000))\n");
    run_for(&f, 98 * 1000);
    assert_silent(&f, "it is");
    run_for(&f, 2 * 1000);
    assert_said(&f, "it is 22:15:00");
    fixture_close(&f);
}

static void a_zone_is_read_once(void **state)
{
    (void)state;
    struct zones_port zones = {.read = count_reads};
    struct fixture f;
    with_zones(&f, &zones);
    reads = 0;
    load(&f, "local mk = require 'moonkeeper'\n"
             "for _ = 1, 3 do\n"
             "  local s = assert(mk.cron.parse('0 12 * * *', { tz = 'Asia/Tokyo' }))\n"
             "  assert(tostring(s) == '0 12 * * *')\n"
             "  mk.log.info(os.date('!%F %R', s:next(1700000000000) // 1000))\n"
             "end\n"
             "mk.log.info('utc ' .. mk.cron.next('0 12 * * *', 1700000000000))\n");
    assert_said(&f, "2023-11-15 03:00");
    assert_said(&f, "utc 1700049600000");
    assert_int_equal(reads, 1);
    fixture_close(&f);
}

static void what_is_wrong_is_said(void **state)
{
    (void)state;
    struct fixture f;
    with_zones(&f, system_zones());
    load(&f, "local mk = require 'moonkeeper'\n"
             "local function try(...) mk.log.info(select(2, mk.cron.parse(...))) end\n"
             "try('0 0 31 2 *')\n"
             "try('* * * * *', { tz = 'Europe/Berln' })\n"
             "try('* * * * *', { tz = '../../etc/passwd' })\n"
             "mk.log.info(select(2, mk.cron.next('* * * * *', 253402300799999)))\n"
             "mk.log.info(select(2, pcall(mk.cron.next, '* * * * *', 1 << 60)))\n"
             "mk.log.info(select(2, pcall(mk.cron.parse, '* * * * *', { zone = 'UTC' })))\n");
    assert_said(&f, "invalid: cron expression '0 0 31 2 *': day of month: '31' never comes");
    assert_said(&f, "not_found: time zone 'Europe/Berln': cannot open");
    assert_said(&f, "invalid: '../../etc/passwd' is not the name of a time zone");
    assert_said(&f, "not_found: it is not due before the year 10000");
    assert_said(&f, "in the years 0 to 9999");
    assert_said(&f, "there is no option 'zone'; there is tz");
    fixture_close(&f);
}

static void without_zones_there_is_utc(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f);
    load(&f, "local mk = require 'moonkeeper'\n"
             "assert(mk.cron.parse('@daily'))\n"
             "mk.log.info(select(2, mk.cron.parse('@daily', { tz = 'Asia/Tokyo' })))\n");
    assert_said(&f, "time zone 'Asia/Tokyo': only UTC is there");
    fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_script_sleeps_until_it_is_due),
        cmocka_unit_test(a_zone_is_read_once),
        cmocka_unit_test(what_is_wrong_is_said),
        cmocka_unit_test(without_zones_there_is_utc),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
