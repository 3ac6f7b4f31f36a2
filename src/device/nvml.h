/* The part of NVIDIA's management library that is used here, from its documented ABI: the toolkits that
 * build Corral need not have its header. Every function may be missing in an old driver's library. Source:
 * NVML API reference, NVIDIA. */
#ifndef CORRAL_DEVICE_NVML_H
#define CORRAL_DEVICE_NVML_H

typedef struct nvml_device_st *nvml_device;

struct nvml_memory { unsigned long long total, free, used; };   /* nvmlMemory_t; used: the driver's own too */
struct nvml_utilization { unsigned gpu, memory; };              /* percent over the driver's last period */
struct nvml_process { unsigned pid; unsigned long long used; unsigned gpu_instance, compute_instance; };
struct nvml_pci {                                               /* nvmlPciInfo_t of _v3 */
    char bus_id_legacy[16];
    unsigned domain, bus, device, pci_device_id, pci_subsystem_id;
    char bus_id[32];
};

enum {
    NVML_SUCCESS = 0, NVML_UNINITIALIZED = 1, NVML_INVALID_ARGUMENT = 2, NVML_NOT_SUPPORTED = 3,
    NVML_NO_PERMISSION = 4, NVML_NOT_FOUND = 6, NVML_INSUFFICIENT_SIZE = 7, NVML_DRIVER_NOT_LOADED = 9,
    NVML_GPU_IS_LOST = 15,
    NVML_RESET_REQUIRED = 16, NVML_LIB_RM_VERSION_MISMATCH = 18,
    NVML_TEMPERATURE_GPU = 0,
    NVML_MIG_ENABLED = 1,
    NVML_P2P_NVLINK = 2, NVML_P2P_OK = 0,
    NVML_TOPOLOGY_INTERNAL = 0, NVML_TOPOLOGY_SINGLE = 10, NVML_TOPOLOGY_MULTIPLE = 20,
    NVML_TOPOLOGY_HOSTBRIDGE = 30, NVML_TOPOLOGY_NODE = 40, NVML_TOPOLOGY_SYSTEM = 50,
};
#define NVML_BYTES_UNKNOWN (~0ull) /* a process whose memory the driver does not tell */

#define NVML_FUNCTIONS(X) \
    X(Init_v2, (void)) \
    X(Shutdown, (void)) \
    X(SystemGetDriverVersion, (char *, unsigned)) \
    X(DeviceGetCount_v2, (unsigned *)) \
    X(DeviceGetHandleByIndex_v2, (unsigned, nvml_device *)) \
    X(DeviceGetName, (nvml_device, char *, unsigned)) \
    X(DeviceGetUUID, (nvml_device, char *, unsigned)) \
    X(DeviceGetPciInfo_v3, (nvml_device, struct nvml_pci *)) \
    X(DeviceGetMemoryInfo, (nvml_device, struct nvml_memory *)) \
    X(DeviceGetUtilizationRates, (nvml_device, struct nvml_utilization *)) \
    X(DeviceGetTemperature, (nvml_device, int, unsigned *)) \
    X(DeviceGetPowerUsage, (nvml_device, unsigned *))         /* milliwatts */ \
    X(DeviceGetEnforcedPowerLimit, (nvml_device, unsigned *)) /* milliwatts */ \
    X(DeviceGetCudaComputeCapability, (nvml_device, int *, int *)) \
    X(DeviceGetComputeRunningProcesses_v3, (nvml_device, unsigned *, struct nvml_process *)) \
    X(DeviceGetComputeRunningProcesses_v2, (nvml_device, unsigned *, struct nvml_process *)) \
    X(DeviceGetMigMode, (nvml_device, unsigned *now, unsigned *pending)) \
    X(DeviceGetMaxMigDeviceCount, (nvml_device, unsigned *)) \
    X(DeviceGetMigDeviceHandleByIndex, (nvml_device, unsigned, nvml_device *)) \
    X(DeviceGetP2PStatus, (nvml_device, nvml_device, int what, int *)) \
    X(DeviceGetTopologyCommonAncestor, (nvml_device, nvml_device, int *))

#endif
