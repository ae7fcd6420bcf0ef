// A depth-wise convolution with its bias and the activations before and after it, in one kernel.
// Maps lie channels last, in FP16 or FP32; sums are FP32. Source: onnx/onnx:docs/Operators.md, Conv with group = channels.
// onnx_to_torch/kernels.py puts half.cu and #defines before it: HALF (1: FP16), LANES (channels of a thread), ROWS and
// COLUMNS (of a weight), SWISH_BEFORE and SWISH (1: an activation is HardSwish). Compiled by NVRTC when it is first asked
// for; the tests compile it as C++ and compare it with PyTorch's.

#if ROWS * COLUMNS <= 16   // What registers hold.
#define UNROLLED _Pragma("unroll")
#else
#define UNROLLED _Pragma("unroll 1")
#endif

#if HALF
typedef unsigned short Value;
#define WIDE from_half
#define NARROW to_half
#else
typedef float Value;
#define WIDE
#define NARROW
#endif

struct __align__(sizeof(Value) * LANES) Pack {   // What a thread loads and stores at once.
    Value lanes[LANES];
};

// Clips, or HardSwish where `hard_swish` is 1.
__device__ float activated(float value, float low, float high, int hard_swish) {
    if (hard_swish) return value * fminf(fmaxf(value + 3.0f, 0.0f), 6.0f) * (1.0f / 6.0f);
    return fminf(fmaxf(value, low), high);
}

__device__ int clipped(int at, int size) { return at < 0 ? 0 : at < size ? at : size - 1; }

// Weights [ROWS, COLUMNS, channels], of all images or (weights_an_image: their packs, else 0) of each of them;
// `packs`: of a place, channels / LANES. A thread makes one pack of the output.
extern "C" __global__ void depthwise(
    const Pack* x, const Pack* weight, const Pack* bias, Pack* out,
    int count, int packs, int weights_an_image, int height, int width, int out_height, int out_width,
    int down, int across, int lines, int gaps, int top, int left,
    float low_before, float high_before, float low, float high) {
    const int at = blockIdx.x * blockDim.x + threadIdx.x;
    if (at >= count) return;
    const int pack = at % packs, place = at / packs;
    const int column = place % out_width, row = place / out_width % out_height, image = place / out_width / out_height;
    weight += (long long)image * weights_an_image;
    float sums[LANES];
    Pack made = {};
    if (bias) made = bias[pack];
    for (int lane = 0; lane < LANES; ++lane) sums[lane] = WIDE(made.lanes[lane]);
    UNROLLED
    for (int tap_row = 0; tap_row < ROWS; ++tap_row) {
        const int y = row * down - top + tap_row * lines;
        const Pack* line = x + ((long long)image * height + clipped(y, height)) * width * packs + pack;
        Pack pixels[COLUMNS];   // Read before any is used, and whether used or not: no load waits for another.
        for (int tap = 0; tap < COLUMNS; ++tap)
            pixels[tap] = line[(long long)clipped(column * across - left + tap * gaps, width) * packs];
        for (int tap = 0; tap < COLUMNS; ++tap) {
            const int from = column * across - left + tap * gaps;
            const bool inside = y >= 0 && y < height && from >= 0 && from < width;
            const Pack weights = weight[(tap_row * COLUMNS + tap) * packs + pack];
            for (int lane = 0; lane < LANES; ++lane) {
                const float value = activated(WIDE(pixels[tap].lanes[lane]), low_before, high_before, SWISH_BEFORE);
                sums[lane] = fmaf(inside ? value : 0.0f, WIDE(weights.lanes[lane]), sums[lane]);
            }
        }
    }
    for (int lane = 0; lane < LANES; ++lane) made.lanes[lane] = NARROW(activated(sums[lane], low, high, SWISH));
    out[at] = made;
}
