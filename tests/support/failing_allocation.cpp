#include "support/failing_allocation.hpp"

#include <atomic>
#include <cstdlib>
#include <new>

namespace {

std::atomic<tangram::Index> left = 0;  ///< the allocation that fails is the left-th from now; 0: none
std::atomic<std::size_t> smallest = 0;
std::atomic<bool> failed = false;

}  // namespace

// Clang's thread sanitizer brings its own; tools/checks/threads leaves these tests out.
#if !defined(TANGRAM_OPERATOR_NEW_IS_TAKEN)
// Not inlined: GCC would take a delete with free() for one of memory that its own operator new gave.
[[gnu::noinline]] void* operator new(std::size_t bytes) {
    if (left > 0 && bytes >= smallest && --left == 0) {
        failed = true;
        throw std::bad_alloc();
    }
    if (void* const memory = std::malloc(bytes > 0 ? bytes : 1)) return memory;
    throw std::bad_alloc();
}
// As the library's, which the address sanitizer replaces by one whose memory no delete of here may have.
[[gnu::noinline]] void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept {
    try {
        return operator new(bytes);
    } catch (const std::bad_alloc&) {
        return nullptr;
    }
}
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
// The same of arrays.
[[gnu::noinline]] void* operator new[](std::size_t bytes) { return operator new(bytes); }
[[gnu::noinline]] void operator delete[](void* memory) noexcept { operator delete(memory); }
[[gnu::noinline]] void operator delete[](void* memory, std::size_t) noexcept { operator delete(memory); }
#endif

namespace tangram::testing {

FailingAllocation::FailingAllocation(Index number, std::size_t bytes) {
    smallest = bytes;
    failed = false;
    left = number;
}
FailingAllocation::~FailingAllocation() { left = 0; }
bool FailingAllocation::happened() const { return failed; }

}  // namespace tangram::testing
