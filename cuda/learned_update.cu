// learned_update: one step of a per-parameter learned optimizer over N tensors that lie one behind the other.
//
//   p - rate * (scale[0] * d * exp(scale[1] * m) + weight_decay * p), (d, m) = network(features), features in order:
//   g, p, m [K], v, m/sqrt(v) [K], 1/sqrt(v), g*f [F], a [F], b [F], 1/sqrt(a) [F], 1/sqrt(b) [F], m*f [F], time [11]
//   with running means: momenta m, square v, rows a and columns b of the square; f = 1/sqrt(a/mean(a) * b). Each but
//   time is divided by the root of its mean square over the tensor; time is tanh(step/s - 1).
//
//   parameter, gradient, square [E]  momentum [K,E]  row, column: the tensors' [F,R] and [F,C] one behind the other
//   tensors [N,5]: where it begins, R, C, where its rows begin, where its columns begin (both times F)
//   chunks [chunks,2]: tensor, where the chunk begins in it  strips [strips,2]: tensor, first column
//   elements E  momenta K  factored F  inputs I = 4 + 2*K + 6*F, time apart
//
// Launch: any 1-D grids. _rows (blocks stride over all rows) and _means (over the tensors) blocks of 128 threads and
//   _columns (over strips of 32 columns) of 256; _state (over chunks of CHUNK = 1024) of 128 threads, shared memory
//   8*I*128 bytes; _fold (over the tensors) of 128; the last (over chunks) of 32, 64 or 128 threads, shared memory
//   4 * (weights + 4*threads*widest) bytes, where weights counts the layers' numbers with outputs padded to 8 and widest
//   is the widest of the padded layers and I.
// Reference: amortix.ops.learned_update, `definition`.
//
// Sums over a tensor have two stages and one order: a chunk's in a tree, then the chunks in turn. A thread takes two
// parameters through the network; activations stay in its own columns of shared memory, so no layer waits for another.

#define CHUNK 1024
#define TIMES 11
#define TILE 8
#define LEAST -3.4028235e38f

// Sum of `value` over a block of at most 128 threads, the same in all of them.
__device__ float block_sum(float value, float* lanes) {
    lanes[threadIdx.x] = value;
    __syncthreads();
    for (int half = 64; half > 0; half /= 2) {
        if (threadIdx.x < half && threadIdx.x + half < blockDim.x) lanes[threadIdx.x] += lanes[threadIdx.x + half];
        __syncthreads();
    }
    const float total = lanes[0];
    __syncthreads();
    return total;
}

__device__ float decayed(float mean, float value, float decay) { return decay * mean + (1.0f - decay) * value; }

extern "C" __global__ void __launch_bounds__(128)
learned_update_rows(const float* gradient, const float* row, const float* decay, const int* tensors,
                    const int* row_tensor, float* out_row, int rows_total, int factored) {
    extern __shared__ float shared[];
    for (int unit = blockIdx.x; unit < rows_total; unit += gridDim.x) {
        const int* tensor = tensors + 5 * row_tensor[unit];
        const int rows = tensor[1], columns = tensor[2], r = unit - tensor[3];
        const float* g = gradient + tensor[0] + (long long)r * columns;
        float own = 0.0f;
        for (int c = threadIdx.x; c < columns; c += blockDim.x) own += g[c] * g[c];
        const float mean = block_sum(own, shared) / columns;
        for (int f = threadIdx.x; f < factored; f += blockDim.x) {
            const long long place = (long long)tensor[3] * factored + (long long)f * rows + r;
            out_row[place] = columns > 0 ? decayed(row[place], mean, decay[f]) : row[place];
        }
    }
}

extern "C" __global__ void __launch_bounds__(256)
learned_update_columns(const float* gradient, const float* column, const float* decay, const int* tensors,
                       const int* strips, float* out_column, int strips_total, int factored) {
    extern __shared__ float shared[];
    for (int unit = blockIdx.x; unit < strips_total; unit += gridDim.x) {
        const int* tensor = tensors + 5 * strips[2 * unit];
        const int rows = tensor[1], columns = tensor[2];
        const int c = strips[2 * unit + 1] + threadIdx.x % 32, first = threadIdx.x / 32;
        float own = 0.0f;
        for (int r = first; r < rows && c < columns; r += 8) {
            const float g = gradient[tensor[0] + (long long)r * columns + c];
            own += g * g;
        }
        shared[threadIdx.x] = own;
        __syncthreads();
        if (first == 0 && c < columns) {
            float total = 0.0f;
            for (int part = 0; part < 8; ++part) total += shared[32 * part + threadIdx.x];
            for (int f = 0; f < factored; ++f) {
                const long long place = (long long)tensor[4] * factored + (long long)f * columns + c;
                out_column[place] = rows > 0 ? decayed(column[place], total / rows, decay[f]) : column[place];
            }
        }
        __syncthreads();
    }
}

// The inverse of every row statistic's mean, [N,F].
extern "C" __global__ void __launch_bounds__(128)
learned_update_means(const float* row, const int* tensors, float* means, int tensors_total, int factored) {
    extern __shared__ float shared[];
    for (long long unit = blockIdx.x; unit < (long long)tensors_total * factored; unit += gridDim.x) {
        const int* tensor = tensors + 5 * (unit / factored);
        const float* a = row + (long long)tensor[3] * factored + unit % factored * tensor[1];
        float own = 0.0f;
        for (int r = threadIdx.x; r < tensor[1]; r += blockDim.x) own += a[r];
        const float total = block_sum(own, shared);
        if (threadIdx.x == 0) means[unit] = 1.0f / (total / tensor[1] + 1e-9f);
    }
}

// Write the features of element e of a tensor to every stride-th place of `out`; momentum and square are the new ones.
__device__ void write_features(float* out, int stride, const float* parameter, const float* gradient,
                               const float* momentum, const float* square, const float* row, const float* column,
                               const float* means, const int* tensor, int e, long long elements, int momenta,
                               int factored) {
    const long long place = (long long)tensor[0] + e;
    const int rows = tensor[1], columns = tensor[2], r = e / columns, c = e % columns;
    const float g = gradient[place], v = square[place], root = rsqrtf(v + 1e-6f);
    float* rest = out + (long long)(4 + 2 * momenta) * stride;
    out[0] = g;
    out[stride] = parameter[place];
    for (int k = 0; k < momenta; ++k) {
        const float m = momentum[k * elements + place];
        out[(2 + k) * stride] = m;
        out[(3 + momenta + k) * stride] = m * root;
    }
    out[(2 + momenta) * stride] = v;
    out[(3 + 2 * momenta) * stride] = root;
    for (int f = 0; f < factored; ++f) {
        const float a = row[(long long)tensor[3] * factored + (long long)f * rows + r];
        const float b = column[(long long)tensor[4] * factored + (long long)f * columns + c];
        const float factor = rsqrtf(fmaxf(a * means[f], 1e-9f)) * rsqrtf(fmaxf(b, 1e-9f));
        rest[f * stride] = g * factor;
        rest[(factored + f) * stride] = a;
        rest[(2 * factored + f) * stride] = b;
        rest[(3 * factored + f) * stride] = rsqrtf(a + 1e-8f);
        rest[(4 * factored + f) * stride] = rsqrtf(b + 1e-8f);
        rest[(5 * factored + f) * stride] = momentum[f * elements + place] * factor;
    }
}

extern "C" __global__ void __launch_bounds__(128)
learned_update_state(const float* parameter, const float* gradient, const float* momentum, const float* square,
                     const float* row, const float* column, const float* means, const float* momentum_decay,
                     const float* square_decay, const int* tensors, const int* chunks, float* out_momentum,
                     float* out_square, float* partial, int chunks_total, int elements, int momenta, int factored) {
    extern __shared__ float shared[];
    const int inputs = 4 + 2 * momenta + 6 * factored;
    float* lane = shared + threadIdx.x;                    // [I] features of the thread's parameter
    float* sums = lane + (long long)inputs * blockDim.x;   // [I] sums of their squares
    for (int unit = blockIdx.x; unit < chunks_total; unit += gridDim.x) {
        const int which = chunks[2 * unit], first = chunks[2 * unit + 1];
        const int* tensor = tensors + 5 * which;
        const int size = tensor[1] * tensor[2], stop = size - first < CHUNK ? size : first + CHUNK;
        for (int i = 0; i < inputs; ++i) sums[i * blockDim.x] = 0.0f;
        for (int e = first + threadIdx.x; e < stop; e += blockDim.x) {
            const long long place = (long long)tensor[0] + e;
            const float g = gradient[place];
            for (int k = 0; k < momenta; ++k) {
                const long long one = (long long)k * elements + place;
                out_momentum[one] = decayed(momentum[one], g, momentum_decay[k]);
            }
            out_square[place] = decayed(square[place], g * g, square_decay[0]);
            write_features(lane, blockDim.x, parameter, gradient, out_momentum, out_square, row, column,
                           means + which * factored, tensor, e, elements, momenta, factored);
            for (int i = 0; i < inputs; ++i) sums[i * blockDim.x] += lane[i * blockDim.x] * lane[i * blockDim.x];
        }
        __syncthreads();
        for (int i = threadIdx.x; i < inputs; i += blockDim.x) {
            const float* all = shared + (long long)(inputs + i) * blockDim.x;
            float total = 0.0f;
            for (int t = 0; t < blockDim.x; ++t) total += all[t];
            partial[(long long)unit * inputs + i] = total;
        }
        __syncthreads();
    }
}

// The first layer of every tensor, [N][I+1][padded]: its weights with the normalisation, and its bias with time.
extern "C" __global__ void __launch_bounds__(128)
learned_update_fold(const float* partial, const float* weight, const float* bias, const float* step,
                    const int* tensors, const int* first_chunk, float* folded, int tensors_total, int inputs,
                    int outputs, int padded) {
    extern __shared__ float shared[];
    for (int unit = blockIdx.x; unit < tensors_total; unit += gridDim.x) {
        const float size = (float)tensors[5 * unit + 1] * (float)tensors[5 * unit + 2];
        for (int i = threadIdx.x; i < inputs; i += blockDim.x) {
            float total = 0.0f;
            for (int c = first_chunk[unit]; c < first_chunk[unit + 1]; ++c) total += partial[(long long)c * inputs + i];
            shared[i] = rsqrtf(total / size + 1e-5f);
        }
        const float scales[TIMES] = {1.0f, 3.0f, 10.0f, 30.0f, 100.0f, 300.0f, 1e3f, 3e3f, 1e4f, 3e4f, 1e5f};
        for (int o = threadIdx.x; o < padded; o += blockDim.x) {
            float total = o < outputs ? bias[o] : 0.0f;
#pragma unroll
            for (int t = 0; t < TIMES; ++t) {
                if (o < outputs) total += weight[o * (inputs + TIMES) + inputs + t] * tanhf(step[unit] / scales[t] - 1.0f);
            }
            folded[((long long)unit * (inputs + 1) + inputs) * padded + o] = total;
        }
        __syncthreads();
        for (int e = threadIdx.x; e < inputs * padded; e += blockDim.x) {
            const int i = e / padded, o = e % padded;
            const float own = o < outputs ? weight[o * (inputs + TIMES) + i] * shared[i] : 0.0f;
            folded[(long long)unit * (inputs + 1) * padded + e] = own;
        }
        __syncthreads();
    }
}

// One layer for two neighbouring parameters: `from` and `to` are this thread's columns, `weight` is [from+1][padded].
__device__ void layer(const float* from, float* to, const float* weight, int inputs, int padded, int stride,
                      float floor) {
    for (int first = 0; first < padded; first += TILE) {
        float left[TILE], right[TILE];
#pragma unroll
        for (int o = 0; o < TILE; ++o) left[o] = right[o] = weight[inputs * padded + first + o];
        for (int i = 0; i < inputs; ++i) {
            const float2 x = *(const float2*)(from + i * stride);
            const float4* w = (const float4*)(weight + i * padded + first);
            const float4 low = w[0], high = w[1];
            const float own[TILE] = {low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w};
#pragma unroll
            for (int o = 0; o < TILE; ++o) {
                left[o] += own[o] * x.x;
                right[o] += own[o] * x.y;
            }
        }
#pragma unroll
        for (int o = 0; o < TILE; ++o) {
            // A comparison, for fmaxf would turn what is not a number into the floor.
            *(float2*)(to + (first + o) * stride) = {left[o] < floor ? floor : left[o],
                                                     right[o] < floor ? floor : right[o]};
        }
    }
}

extern "C" __global__ void __launch_bounds__(128)
learned_update(const float* parameter, const float* gradient, const float* momentum, const float* square,
               const float* row, const float* column, const float* means, const float* scale, const float* folded,
               const float* later, const int* widths, const int* tensors, const int* chunks, float* out,
               int chunks_total, int elements, int momenta, int factored, int layers, int later_size, int widest,
               float rate, float weight_decay) {
    extern __shared__ float shared[];
    const int inputs = 4 + 2 * momenta + 6 * factored, stride = 2 * blockDim.x, start = (inputs + 1) * widths[0];
    float* weights = shared;                                        // [I+1][widths[0]], then the later layers
    float* one = weights + start + later_size + 2 * threadIdx.x;    // [widest] activations of two parameters
    float* other = one + (long long)widest * stride;                // [widest]
    for (int e = threadIdx.x; e < later_size; e += blockDim.x) weights[start + e] = later[e];
    for (int unit = blockIdx.x; unit < chunks_total; unit += gridDim.x) {
        const int which = chunks[2 * unit], first = chunks[2 * unit + 1];
        const int* tensor = tensors + 5 * which;
        const int size = tensor[1] * tensor[2], stop = size - first < CHUNK ? size : first + CHUNK;
        for (int e = threadIdx.x; e < start; e += blockDim.x) weights[e] = folded[(long long)which * start + e];
        __syncthreads();
        for (int e = first + 2 * threadIdx.x; e < stop; e += stride) {
            for (int side = 0; side < 2; ++side) {
                write_features(one + side, stride, parameter, gradient, momentum, square, row, column,
                               means + which * factored, tensor, e + side < stop ? e + side : e, elements, momenta,
                               factored);
            }
            float *from = one, *to = other;
            const float* weight = weights;
            for (int l = 0, width = inputs; l < layers; ++l) {
                layer(from, to, weight, width, widths[l], stride, l + 1 < layers ? 0.0f : LEAST);
                weight += (width + 1) * widths[l];
                width = widths[l];
                float* swap = from;
                from = to;
                to = swap;
            }
            for (int side = 0; side < 2 && e + side < stop; ++side) {
                const long long place = (long long)tensor[0] + e + side;
                const float change = scale[0] * from[side] * expf(scale[1] * from[stride + side]), p = parameter[place];
                out[place] = p - rate * (change + weight_decay * p);
            }
        }
        __syncthreads();
    }
}
