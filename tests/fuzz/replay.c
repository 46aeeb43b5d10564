/* Stands in for libFuzzer where there is none: gives the fuzz target every file of the corpus,
 * whole, cut short, and with single bytes changed. Every file must be readable and there must be
 * some. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { INPUT_MAX = 1 << 20, VARIED_MAX = 1024 };

/* On the heap and of exactly this size, so that a sanitizer sees reads beyond it. */
static void give(const uint8_t *data, size_t size)
{
    uint8_t *copy = malloc(size == 0 ? 1 : size);
    if (size > 0) {
        memcpy(copy, data, size);
    }
    LLVMFuzzerTestOneInput(copy, size);
    free(copy);
}

static void vary(uint8_t *data, size_t size)
{
    static const uint8_t changes[] = {0x01, 0x80, 0xff};
    for (size_t i = 0; i < size && i < VARIED_MAX; i++) {
        give(data, i);
        for (size_t c = 0; c < sizeof changes; c++) {
            data[i] ^= changes[c];
            give(data, size);
            data[i] ^= changes[c];
        }
    }
}

static int replay(const char *path)
{
    static uint8_t data[INPUT_MAX];
    FILE *file = fopen(path, "rb");
    if (file == NULL) {
        perror(path);
        return 1;
    }
    size_t size = fread(data, 1, sizeof data, file);
    fclose(file);
    give(data, size);
    vary(data, size);
    return 0;
}

int main(int argc, char **argv)
{
    if (argc != 2) {
        fprintf(stderr, "usage: %s CORPUS_DIRECTORY\n", argv[0]);
        return 2;
    }
    DIR *dir = opendir(argv[1]);
    if (dir == NULL) {
        perror(argv[1]);
        return 1;
    }
    int failed = 0, count = 0;
    for (struct dirent *file; (file = readdir(dir)) != NULL;) {
        if (file->d_name[0] != '.') {
            char path[4096];
            snprintf(path, sizeof path, "%s/%s", argv[1], file->d_name);
            failed |= replay(path);
            count++;
        }
    }
    closedir(dir);
    printf("%d inputs\n", count);
    return failed != 0 || count == 0;
}
