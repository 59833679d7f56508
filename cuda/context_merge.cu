// context_merge: the K rows nearest to each query, of those it retains and a mini-batch of fresh ones.
//
//   d(row) = sum_D relevance * (query - row)^2; keep the K smallest, ascending; of equals the row kept earlier,
//   then the lower index, wins; rows of weight 0 and rows at a distance that is not finite are never taken.
//
//   query [T,M,D]  rows [T,B,D]  values [T,B,O]  relevance [T,D]  weight [T,B] or null
//   distance [T,M,K], ascending, +inf where empty  kept_x [T,M,K,D]  kept_y [T,M,K,O]
//   out_distance [T,M,K]  out_x [T,M,K,D]  out_y [T,M,K,O]
//   tasks T  queries M  batch B  columns D  outputs O  slots K
//
// Launch: any 1-D grid (blocks stride over the T*M queries), 1-D blocks of at most 256 threads, shared memory
//   4 * (4*K + 2*CHUNK + 2 + 2*D) bytes with CHUNK = 512.
// Reference: amortix.ops.context_merge, `definition`. Equal to the last bit: no product and sum is fused.
//
// One block per query. Rows go by in chunks; those nearer than the K-th retained one are collected in any order, and
// every entry then finds its place by counting the entries before it, so the order of collection cannot show.

#define CHUNK 512

// d(row) in the order of the definition: column by column, every product and sum rounded on its own.
__device__ float squared_distance(const float* query, const float* relevance, const float* row, int columns) {
    float total = 0.0f;
    for (int d = 0; d < columns; ++d) {
        const float delta = __fsub_rn(query[d], row[d]);
        total = __fadd_rn(total, __fmul_rn(__fmul_rn(relevance[d], delta), delta));
    }
    return total;
}

// Entries of an ascending list that come before `value`, equals included.
__device__ int count_up_to(const float* ascending, int length, float value) {
    int low = 0;
    while (length > 0) {
        const int half = length / 2;
        if (ascending[low + half] <= value) {
            low += half + 1;
            length -= half + 1;
        } else {
            length = half;
        }
    }
    return low;
}

// Copy what the slots hold, from the retained entries (source < slots) or the batch; empty slots get zeros.
__device__ void copy_slots(float* out, const float* kept, const float* fresh, const float* near, const int* source,
                           int slots, int width) {
    for (int e = threadIdx.x; e < slots * width; e += blockDim.x) {
        const int slot = e / width, column = e % width, from = source[slot];
        float value = 0.0f;
        if (!isinf(near[slot])) {
            value = from < slots ? kept[from * width + column] : fresh[(long long)(from - slots) * width + column];
        }
        out[e] = value;
    }
}

extern "C" __global__ void __launch_bounds__(256)
context_merge(const float* query, const float* rows, const float* values, const float* relevance,
              const float* distance, const float* kept_x, const float* kept_y, const float* weight,
              float* out_distance, float* out_x, float* out_y,
              int tasks, int queries, int batch, int columns, int outputs, int slots) {
    extern __shared__ float shared[];
    float* near = shared;                        // [2][K] distances of the retained entries, now and next
    int* source = (int*)(near + 2 * slots);      // [2][K] their origin: a slot, or K + a row of the batch
    float* fresh = (float*)(source + 2 * slots); // [CHUNK] distances of the rows collected
    int* fresh_row = (int*)(fresh + CHUNK);      // [CHUNK] and the rows
    int* collected = fresh_row + CHUNK;          // [2] how many, in even and in odd chunks
    float* my_query = (float*)(collected + 2);   // [D]
    float* my_relevance = my_query + columns;    // [D]

    for (long long unit = blockIdx.x; unit < (long long)tasks * queries; unit += gridDim.x) {
        const long long task = unit / queries;
        const float* task_rows = rows + task * batch * columns;
        for (int k = threadIdx.x; k < slots; k += blockDim.x) {
            near[k] = distance[unit * slots + k];
            source[k] = k;
        }
        for (int d = threadIdx.x; d < columns; d += blockDim.x) {
            my_query[d] = query[unit * columns + d];
            my_relevance[d] = relevance[task * columns + d];
        }
        if (threadIdx.x == 0) collected[0] = 0;
        __syncthreads();

        int now = 0;
        for (int start = 0, parity = 0; start < batch; start += CHUNK, parity ^= 1) {
            const int stop = batch - start < CHUNK ? batch : start + CHUNK;
            const float worst = near[now * slots + slots - 1];
            for (int b = start + threadIdx.x; b < stop; b += blockDim.x) {
                if (weight && !(weight[task * batch + b] > 0.0f)) continue;
                const float d = squared_distance(my_query, my_relevance, task_rows + (long long)b * columns, columns);
                if (d < worst) {
                    const int place = atomicAdd(&collected[parity], 1);
                    fresh[place] = d;
                    fresh_row[place] = b;
                }
            }
            __syncthreads();

            const int count = collected[parity];
            const float* old_near = near + now * slots;
            const int* old_source = source + now * slots;
            float* new_near = near + (1 - now) * slots;
            int* new_source = source + (1 - now) * slots;
            for (int k = threadIdx.x; k < slots; k += blockDim.x) {
                int rank = k;
                for (int c = 0; c < count; ++c) rank += fresh[c] < old_near[k];
                if (rank < slots) {
                    new_near[rank] = old_near[k];
                    new_source[rank] = old_source[k];
                }
            }
            for (int c = threadIdx.x; c < count; c += blockDim.x) {
                const float d = fresh[c];
                const int row = fresh_row[c];
                int rank = count_up_to(old_near, slots, d);
                for (int o = 0; o < count; ++o) rank += fresh[o] < d || (fresh[o] == d && fresh_row[o] < row);
                if (rank < slots) {
                    new_near[rank] = d;
                    new_source[rank] = slots + row;
                }
            }
            if (threadIdx.x == 0) collected[parity ^ 1] = 0;
            now = 1 - now;
            __syncthreads();
        }

        const float* merged = near + now * slots;
        const int* merged_source = source + now * slots;
        for (int k = threadIdx.x; k < slots; k += blockDim.x) out_distance[unit * slots + k] = merged[k];
        copy_slots(out_x + unit * slots * columns, kept_x + unit * slots * columns, task_rows, merged, merged_source,
                   slots, columns);
        copy_slots(out_y + unit * slots * outputs, kept_y + unit * slots * outputs, values + task * batch * outputs,
                   merged, merged_source, slots, outputs);
        __syncthreads();
    }
}
