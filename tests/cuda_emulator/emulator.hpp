// A CUDA grid on one CPU thread: blocks run in turn, the threads of a block are fibers that give way at barriers only.
//
// Include this, then a kernel, then call emulator::run. Between two barriers each thread runs on alone, so a missing
// barrier shows as a wrong result in at least one order of the threads: run several. Blocks come in that order too, so
// that one which relies on another shows. What the language leaves undefined
// is reported: a barrier that not all threads reach, a write beyond the dynamic shared memory, an access to memory of no
// one, a vector at an address that is not a multiple of its size. Uninitialised shared memory is NaN. Not emulated: memory ordering between blocks, divergence inside a warp without a barrier.
#pragma once

#include <signal.h>
#include <ucontext.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#define __global__
#define __device__ static inline
#define __forceinline__ inline
#define __restrict__
#define __launch_bounds__(...)
// At block scope this is one object for all fibers, for they share one system thread; `extern` may stand before it.
#define __shared__ thread_local

struct Index {
    unsigned x, y, z;
};
static Index threadIdx, blockIdx, blockDim, gridDim;
struct alignas(8) float2 {
    float x, y;
};
struct alignas(16) int4 {
    int x, y, z, w;
};
struct alignas(16) float4 {
    float x, y, z, w;
};
static inline int4 make_int4(int x, int y, int z, int w) { return {x, y, z, w}; }
static inline float4 make_float4(float x, float y, float z, float w) { return {x, y, z, w}; }
constexpr int warpSize = 32;

// The dynamic shared memory: kernels declare `extern __shared__ float shared[];`. One guard word follows the largest.
constexpr int SHARED_WORDS = 227 * 1024 / 4;
alignas(16) thread_local float shared[SHARED_WORDS + 1];

using std::isinf;
using std::isnan;
static inline float inverse_root(float x) { return 1.0f / std::sqrt(x); }
#define rsqrtf inverse_root  // newer C libraries declare this name
static inline float __fadd_rn(float a, float b) { return a + b; }
static inline float __fsub_rn(float a, float b) { return a - b; }
static inline float __fmul_rn(float a, float b) { return a * b; }
static inline float __fsqrt_rn(float a) { return std::sqrt(a); }
static inline double __dadd_rn(double a, double b) { return a + b; }
static inline double __dsub_rn(double a, double b) { return a - b; }
static inline double __dmul_rn(double a, double b) { return a * b; }
static inline double __ddiv_rn(double a, double b) { return a / b; }
static inline double __dsqrt_rn(double a) { return std::sqrt(a); }
static inline int __popc(unsigned bits) { return __builtin_popcount(bits); }
static inline unsigned __umulhi(unsigned a, unsigned b) { return (unsigned)((uint64_t)a * b >> 32); }
static inline unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
    return (unsigned long long)((unsigned __int128)a * b >> 64);
}
template <class To, class From>
static To bits_as(From value) {
    static_assert(sizeof(To) == sizeof(From));
    To result;
    std::memcpy(&result, &value, sizeof(To));
    return result;
}
static inline unsigned __float_as_uint(float value) { return bits_as<unsigned>(value); }
static inline float __uint_as_float(unsigned bits) { return bits_as<float>(bits); }
template <class T>
static T atomicAdd(T* address, T value) {
    const T before = *address;
    *address += value;
    return before;
}

namespace emulator {

constexpr uint32_t POISON = 0x7fc0dead;  // a NaN
constexpr size_t STACK = 64 * 1024;

enum class State { ready, at_block_barrier, at_warp_barrier, done };

struct Fiber {
    ucontext_t context;
    State state;
    unsigned mask;  // of the warp barrier it waits at
    uint64_t exchanged;
};

struct Machine {
    ucontext_t scheduler;
    std::vector<Fiber> fibers;
    std::vector<char> stacks;
    std::vector<unsigned> order;
    unsigned current = 0;
    const char* error = nullptr;
    void (*body)(void*) = nullptr;
    void* closure = nullptr;
};
static Machine machine;

static void enter() {
    machine.body(machine.closure);
    machine.fibers[machine.current].state = State::done;
}

static void give_way(State state, unsigned mask = 0) {
    Fiber& fiber = machine.fibers[machine.current];
    fiber.state = state;
    fiber.mask = mask;
    swapcontext(&fiber.context, &machine.scheduler);
}

// Release the block where every thread waits at the block barrier.
static void release_block() {
    for (const Fiber& fiber : machine.fibers)
        if (fiber.state != State::at_block_barrier) return;
    for (Fiber& fiber : machine.fibers) fiber.state = State::ready;
}

// Release the lanes of `mask` in the current thread's warp where all of them wait with that mask.
static void release_warp(unsigned thread, unsigned mask) {
    const unsigned first = thread / warpSize * warpSize;
    for (int pass = 0; pass < 2; ++pass)
        for (unsigned lane = 0; lane < warpSize && first + lane < machine.fibers.size(); ++lane) {
            if (!(mask >> lane & 1)) continue;
            Fiber& fiber = machine.fibers[first + lane];
            if (pass == 1) fiber.state = State::ready;
            else if (fiber.state != State::at_warp_barrier || fiber.mask != mask) return;
        }
}

// 0: ascending, 1: descending, others: a fixed shuffle per number.
static std::vector<unsigned> in_order(unsigned count, int order) {
    std::vector<unsigned> places(count);
    for (unsigned i = 0; i < count; ++i) places[i] = order == 1 ? count - 1 - i : i;
    uint64_t random = 0x9e3779b97f4a7c15ull * (order + 1);
    for (unsigned i = count; order > 1 && i > 1; --i) {
        random = random * 6364136223846793005ull + 1442695040888963407ull;
        std::swap(places[i - 1], places[(random >> 33) % i]);
    }
    return places;
}

static bool run_next() {
    for (unsigned thread : machine.order) {
        Fiber& fiber = machine.fibers[thread];
        if (fiber.state != State::ready) continue;
        machine.current = thread;
        threadIdx = {thread, 0, 0};
        swapcontext(&machine.scheduler, &fiber.context);
        if (fiber.state == State::at_warp_barrier) release_warp(thread, fiber.mask);
        if (fiber.state == State::at_block_barrier) release_block();
        return true;
    }
    return false;
}

// Back to the scheduler from a thread that accessed memory of no one, or a vector where none can lie.
static void trap(int signal) {
    machine.error = signal == SIGILL ? "a thread accessed memory that is not aligned"
                                     : "a thread accessed memory outside all buffers";
    setcontext(&machine.scheduler);
}

static const char* run_block(unsigned threads, int shared_bytes) {
    for (float& word : shared) std::memcpy(&word, &POISON, 4);
    for (unsigned thread = 0; thread < threads; ++thread) {
        Fiber& fiber = machine.fibers[thread];
        fiber.state = State::ready;
        getcontext(&fiber.context);
        fiber.context.uc_stack.ss_sp = machine.stacks.data() + thread * STACK;
        fiber.context.uc_stack.ss_size = STACK;
        fiber.context.uc_link = &machine.scheduler;
        makecontext(&fiber.context, enter, 0);
    }
    machine.error = nullptr;
    while (!machine.error && run_next()) {}
    if (machine.error) return machine.error;
    for (const Fiber& fiber : machine.fibers)
        if (fiber.state != State::done) return "a barrier was not reached by all of its threads";
    for (int word = (shared_bytes + 3) / 4; word <= SHARED_WORDS; ++word)
        if (std::memcmp(&shared[word], &POISON, 4)) return "a write went beyond the dynamic shared memory";
    return nullptr;
}

// Run `kernel()` as every thread of `blocks` blocks; returns null, or what went wrong.
template <class Kernel>
const char* run(int blocks, int threads, int shared_bytes, int order, Kernel kernel) {
    if (threads < 1 || threads > 1024) return "a block has 1 to 1024 threads";
    if (shared_bytes > SHARED_WORDS * 4) return "more shared memory than a block can have";
    machine.fibers.resize(threads);
    machine.stacks.resize(threads * STACK);
    machine.closure = &kernel;
    machine.body = [](void* closure) { (*static_cast<Kernel*>(closure))(); };
    machine.order = in_order(threads, order);
    gridDim = {(unsigned)blocks, 1, 1};
    blockDim = {(unsigned)threads, 1, 1};
    struct sigaction ours = {}, segv, bus, ill;
    ours.sa_handler = trap;
    sigaction(SIGSEGV, &ours, &segv);
    sigaction(SIGBUS, &ours, &bus);
    sigaction(SIGILL, &ours, &ill);
    const char* error = nullptr;
    for (unsigned block : in_order(blocks, order)) {
        blockIdx = {block, 0, 0};
        if ((error = run_block(threads, shared_bytes))) break;
    }
    sigaction(SIGSEGV, &segv, nullptr);
    sigaction(SIGBUS, &bus, nullptr);
    sigaction(SIGILL, &ill, nullptr);
    return error;
}

// What lane `lane` of this warp gave; every lane of `mask` gives one value and takes one.
template <class T, class Choose>
T exchange(unsigned mask, T value, Choose choose) {
    static_assert(sizeof(T) <= 8);
    const unsigned me = machine.current, first = me / warpSize * warpSize;
    machine.fibers[me].exchanged = 0;
    std::memcpy(&machine.fibers[me].exchanged, &value, sizeof(T));
    give_way(State::at_warp_barrier, mask);
    const unsigned from = choose(me - first);
    T result = value;
    if (from < warpSize && first + from < machine.fibers.size())
        std::memcpy(&result, &machine.fibers[first + from].exchanged, sizeof(T));
    give_way(State::at_warp_barrier, mask);
    return result;
}

}  // namespace emulator

static inline void __syncthreads() { emulator::give_way(emulator::State::at_block_barrier); }
static inline void __syncwarp(unsigned mask = ~0u) { emulator::give_way(emulator::State::at_warp_barrier, mask); }
template <class T>
T __shfl_sync(unsigned mask, T value, int lane) {
    return emulator::exchange(mask, value, [=](unsigned) { return (unsigned)lane % warpSize; });
}
template <class T>
T __shfl_down_sync(unsigned mask, T value, unsigned delta) {
    return emulator::exchange(mask, value, [=](unsigned lane) { return lane + delta; });
}
template <class T>
T __shfl_up_sync(unsigned mask, T value, unsigned delta) {
    return emulator::exchange(mask, value, [=](unsigned lane) { return lane - delta; });
}
template <class T>
T __shfl_xor_sync(unsigned mask, T value, unsigned bits) {
    return emulator::exchange(mask, value, [=](unsigned lane) { return lane ^ bits; });
}
static inline unsigned __ballot_sync(unsigned mask, int predicate) {
    unsigned votes = 0;
    const unsigned first = emulator::machine.current / warpSize * warpSize;
    emulator::exchange(mask, predicate != 0, [&](unsigned lane) {
        for (unsigned other = 0; other < warpSize && first + other < emulator::machine.fibers.size(); ++other)
            if (mask >> other & 1) votes |= (unsigned)(emulator::machine.fibers[first + other].exchanged != 0) << other;
        return lane;
    });
    return votes;
}
