/* A stand-in for CUDA's runtime library: memory of the host, events by its clock. It knows no GPU. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

static int left = 1 << 30;

int cudaMalloc(void **address, size_t size) { *address = malloc(size); left -= (int)size; return *address ? 0 : 2; }
int cudaMemcpy(void *to, const void *from, size_t size, int kind) { memcpy(to, from, size); return kind == 1 ? 0 : 21; }
int cudaMemGetInfo(size_t *free, size_t *total) { *free = (size_t)left; *total = 1 << 30; return 0; }
int cudaStreamCreate(void **stream) { *stream = malloc(1); return 0; }
int cudaEventCreate(void **event) { *event = calloc(1, sizeof(struct timespec)); return 0; }
int cudaEventRecord(void *event, void *stream) { return stream ? clock_gettime(CLOCK_MONOTONIC, event) : 400; }
int cudaEventSynchronize(void *event) { return event ? 0 : 400; }
int cudaEventElapsedTime(float *ms, void *start, void *stop) {
    struct timespec *a = start, *b = stop;
    *ms = (float)((b->tv_sec - a->tv_sec) * 1e3 + (b->tv_nsec - a->tv_nsec) / 1e6);
    return 0;
}
const char *cudaGetErrorString(int code) { return code == 21 ? "invalid copy" : "stand-in error"; }
