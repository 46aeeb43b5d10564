#include "host_fixture.h"

static void a_hook_gets_the_event(void **state)
{
    (void)state;
    struct fixture f;
    fixture_open(&f);
    load(&f, "local mk = require 'moonkeeper'\n"
             "mk.on('leader_ready', function(ev)\n"
             "  mk.log.info('ready', {name = ev.name, index = ev.index, term = ev.term, seq = ev.seq})\n"
             "end)\n");
    f.view.term = 7;
    post(&f, "leader_ready", "index", 12);
    settle(&f);
    assert_said(&f, "ready index=12 name=leader_ready seq=1 term=7");
    fixture_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_hook_gets_the_event),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
