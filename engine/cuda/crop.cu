// Crops of a frame, cut on the GPU: OpenCV's INTER_LINEAR on uint8 to the byte, colour outside the frame.
// Source: engine/crop.py; opencv/opencv:modules/imgproc/src/resize.cpp (weights of 11 bits, sums shifted by 4, 16, 2).
// Compiled by NVRTC when a bundle is loaded; the tests compile it as C++ and compare it with cv2.resize.

struct Segment {                      // A piece of pinned host memory and where it goes, in units of 16 bytes.
    unsigned long long source, target, quads;
};

struct Crop {                         // crops.py: ROW
    unsigned long long pixels;        // Address of the window: BGR, three bytes a pixel.
    long long pitch;                  // Bytes from one of its rows to the next.
    int x, y, columns, rows;          // The region: first column and row from those of the window, and its size.
    int width, height;                // Of the window; what is outside it has the fill colour.
    unsigned char fill[4];
};

struct __align__(16) Quad {
    unsigned int words[4];
};

#define IN_FLIGHT 4                   // Loads of a thread before its first store: host memory is a microsecond away.
#define ONE 2048

// Copies `count` segments. Reads host memory directly, so that one captured launch copies any number of bytes.
extern "C" __global__ void upload(const Segment* segments, int count) {
    const long long threads = (long long)gridDim.x * blockDim.x;
    const long long thread = (long long)blockIdx.x * blockDim.x + threadIdx.x;
    for (int number = 0; number < count; ++number) {
        const Segment segment = segments[number];
        const Quad* source = (const Quad*)segment.source;
        Quad* target = (Quad*)segment.target;
        const long long quads = (long long)segment.quads;
        for (long long first = thread; first < quads; first += IN_FLIGHT * threads) {
            Quad held[IN_FLIGHT];
            for (int turn = 0; turn < IN_FLIGHT; ++turn) {
                const long long at = first + turn * threads;
                if (at < quads) held[turn] = source[at];
            }
            for (int turn = 0; turn < IN_FLIGHT; ++turn) {
                const long long at = first + turn * threads;
                if (at < quads) target[at] = held[turn];
            }
        }
    }
}

// Index of the first of two neighbouring pixels, and the weight of the second in ONE-ths.
__device__ void taps(int at, int side, int size, int clamped, int* index, int* weight) {
    const double scale = (double)side / size;
    float place = (float)((at + 0.5) * scale - 0.5);
    int low = (int)floorf(place);
    place -= low;
    if (clamped && (low < 0 || low >= side - 1)) {   // Across a row OpenCV drops the weight at its ends,
        place = 0.0f;
        low = low < 0 ? 0 : side - 1;
    }
    *index = low;
    *weight = (int)rintf(place * ONE);               // down a column it repeats the pixel.
}

__device__ int pixel(const Crop* crop, int row, int column, int channel) {
    const int y = crop->y + row, x = crop->x + column;
    if (x < 0 || y < 0 || x >= crop->width || y >= crop->height) return crop->fill[channel];
    return ((const unsigned char*)crop->pixels)[y * crop->pitch + 3ll * x + channel];
}

// Writes crops [gridDim.y, size, size, 3] uint8 to `out`; a thread makes one pixel.
extern "C" __global__ void cut(const Crop* crops, unsigned char* out, int size) {
    const int at = blockIdx.x * blockDim.x + threadIdx.x;
    if (at >= size * size) return;
    const Crop crop = crops[blockIdx.y];
    const int last_column = crop.columns - 1, last_row = crop.rows - 1;
    int left, top, across, down;
    taps(at % size, crop.columns, size, 1, &left, &across);
    taps(at / size, crop.rows, size, 0, &top, &down);
    const int right = left < last_column ? left + 1 : last_column, bottom = top + 1 < last_row ? top + 1 : last_row;
    const int first = top < 0 ? 0 : (top < last_row ? top : last_row);
    const int second = bottom < 0 ? 0 : bottom;
    unsigned char* pixels = out + ((long long)blockIdx.y * size * size + at) * 3;
    for (int channel = 0; channel < 3; ++channel) {
        const int above = pixel(&crop, first, left, channel) * (ONE - across) + pixel(&crop, first, right, channel) * across;
        const int below = pixel(&crop, second, left, channel) * (ONE - across) + pixel(&crop, second, right, channel) * across;
        const int sum = (((ONE - down) * (above >> 4)) >> 16) + ((down * (below >> 4)) >> 16);
        pixels[channel] = (unsigned char)((sum + 2) >> 2);
    }
}
