// The kernels of two templates mixed: one + share (other - one), in FP32, each step rounded as NumPy rounds it.
// Needs half.cu before it.

__device__ float mixed(float one, float other, float share) { return one + share * (other - one); }

extern "C" __global__ void mix_float16(
    const unsigned short* one, const unsigned short* other, unsigned short* out, int count, float share) {
    const int at = blockIdx.x * blockDim.x + threadIdx.x;
    if (at < count) out[at] = to_half(mixed(from_half(one[at]), from_half(other[at]), share));
}

extern "C" __global__ void mix_float32(const float* one, const float* other, float* out, int count, float share) {
    const int at = blockIdx.x * blockDim.x + threadIdx.x;
    if (at < count) out[at] = mixed(one[at], other[at], share);
}
