#include "cli/interrupt.h"

#include <signal.h>
#include <stddef.h>

static volatile sig_atomic_t count;

static void note(int signal_number)
{
    (void)signal_number;
    count++;
}

void interrupt_watch(void)
{
    const struct sigaction action = {.sa_handler = note}; /* without SA_RESTART */
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

unsigned interrupt_count(void)
{
    return (unsigned)count;
}
