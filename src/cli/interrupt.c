#include "cli/interrupt.h"

#include <signal.h>
#include <stddef.h>

static volatile sig_atomic_t count, output_lost;

static void note(int signal_number)
{
    (void)signal_number;
    count++;
}

static void note_lost_output(int signal_number)
{
    (void)signal_number;
    output_lost = 1;
}

void interrupt_watch(void)
{
    const struct sigaction action = {.sa_handler = note}; /* without SA_RESTART */
    const struct sigaction lost = {.sa_handler = note_lost_output};
    struct sigaction before;
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGPIPE, &lost, NULL);
    sigaction(SIGHUP, NULL, &before);
    if (before.sa_handler != SIG_IGN) { /* as nohup leaves it */
        sigaction(SIGHUP, &action, NULL);
    }
}

unsigned interrupt_count(void)
{
    return (unsigned)count + (unsigned)output_lost;
}
