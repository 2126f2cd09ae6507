/* A stand-in for an NVIDIA driver's two libraries, libcuda.so.1 and libnvidia-ml.so.1. It knows no GPU.
 *
 * Two cards, of which CUDA sees the second alone, as under CUDA_VISIBLE_DEVICES=1. STAND_IN_GPU holds its readings,
 * "SM_MHZ MEMORY_MHZ MILLIWATTS CELSIUS REASONS;...": each question for the multiprocessors' clock goes on to the next,
 * the last stays. A negative value is not supported. Compiled with OLD_DRIVER, it has the older name of the reasons.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef CUDA_HEADER /* NVIDIA's own, with which the compiler then compares the functions below */
#include <cuda.h>
#else
typedef int CUresult, CUdevice;
#endif
#define ADDRESS "0000:41:00.0"
static int inited, second_card, step = -1;

static CUresult tell(char *into, int size, const char *text, CUdevice device) {
    snprintf(into, (size_t)size, "%s", text);
    return device == 7 ? 0 : 101; /* CUDA_ERROR_INVALID_DEVICE */
}
CUresult cuInit(unsigned flags) { return flags ? 1 : 0; }
CUresult cuDeviceGet(CUdevice *device, int ordinal) { *device = 7; return ordinal ? 101 : 0; }
CUresult cuDeviceGetName(char *name, int size, CUdevice device) { return tell(name, size, "Stand-in", device); }
CUresult cuDeviceGetPCIBusId(char *id, int size, CUdevice device) { return tell(id, size, ADDRESS, device); }

/* The value of a column in the present reading. */
static int read_column(int column, long long *value) {
    const char *entry = getenv("STAND_IN_GPU");
    for (int k = 0; k < step && strchr(entry, ';'); k++) entry = strchr(entry, ';') + 1;
    long long v[5];
    if (sscanf(entry, "%lld %lld %lld %lld %lld", v, v + 1, v + 2, v + 3, v + 4) != 5) return 999;
    *value = v[column];
    return *value < 0 ? 3 : 0; /* NVML_ERROR_NOT_SUPPORTED */
}

static int answer(void *card, int column, unsigned *value) {
    long long found;
    if (!inited) return 1; /* NVML_ERROR_UNINITIALIZED */
    if (card != &second_card) return 2; /* NVML_ERROR_INVALID_ARGUMENT */
    int code = read_column(column, &found);
    if (code == 0) *value = (unsigned)found;
    return code;
}

int nvmlInit_v2(void) { inited = 1; return 0; }
int nvmlInitWithFlags(unsigned flags) { inited = 1; return (int)flags; }
int nvmlDeviceGetHandleByPciBusId_v2(const char *id, void **card) {
    *card = &second_card;
    return strcmp(id, ADDRESS) ? 6 : 0; /* NVML_ERROR_NOT_FOUND */
}
int nvmlDeviceGetClockInfo(void *card, int type, unsigned *mhz) {
    if (type == 1) step++; /* NVML_CLOCK_SM */
    return type == 1 || type == 2 ? answer(card, type - 1, mhz) : 2;
}
int nvmlDeviceGetPowerUsage(void *card, unsigned *milliwatts) { return answer(card, 2, milliwatts); }
int nvmlDeviceGetTemperature(void *card, int sensor, unsigned *c) { return sensor ? 2 : answer(card, 3, c); }
#ifdef OLD_DRIVER
#define REASONS nvmlDeviceGetCurrentClocksThrottleReasons
#else
#define REASONS nvmlDeviceGetCurrentClocksEventReasons
#endif
int REASONS(void *card, unsigned long long *reasons) {
    unsigned found;
    int code = answer(card, 4, &found);
    if (code == 0) *reasons = found;
    return code;
}
