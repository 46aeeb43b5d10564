/* Ctrl-C and SIGTERM for verbs that run until then. */
#ifndef MK_CLI_INTERRUPT_H
#define MK_CLI_INTERRUPT_H

/* From now on SIGINT and SIGTERM are counted; calls that wait return early with EINTR. */
void interrupt_watch(void);
unsigned interrupt_count(void);

#endif
