// FP16 as bits, which NVRTC has no header for. Put before kernels that need it.

#if defined(__CUDACC_RTC__)
__device__ float from_half(unsigned short bits) {
    float value;
    asm("cvt.f32.f16 %0, %1;" : "=f"(value) : "h"(bits));
    return value;
}
__device__ unsigned short to_half(float value) {
    unsigned short bits;
    asm("cvt.rn.f16.f32 %0, %1;" : "=h"(bits) : "f"(value));
    return bits;
}
#else   // The tests' compiler.
__device__ float from_half(unsigned short bits) { return __builtin_bit_cast(_Float16, bits); }
__device__ unsigned short to_half(float value) { return __builtin_bit_cast(unsigned short, (_Float16)value); }
#endif
