#include "mpi/gram/failing_allocation.hpp"

#include <cstdlib>
#include <new>

std::atomic<long> tangram::testing::allocations_left = -1;
std::atomic<bool> tangram::testing::allocation_failed = false;

void* operator new(std::size_t size) {
    using tangram::testing::allocations_left, tangram::testing::allocation_failed;
    if (allocations_left >= 0 && allocations_left-- == 0) {
        allocation_failed = true;
        throw std::bad_alloc();
    }
    if (void* const memory = std::malloc(size == 0 ? 1 : size)) return memory;
    throw std::bad_alloc();
}
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
