#pragma once
#include <algorithm>
#include <cstddef>
#include <set>

#include "support/mpi_test.hpp"

namespace tangram::testing {

/// While it lives, one allocation on this rank fails: the `number`-th (from 1) of at least `bytes` through
/// operator new, which programs that hold failing_allocation.cpp replace, throws std::bad_alloc. malloc, and
/// with it MPI, BLAS and BLACS, are left alone. One at a time.
class FailingAllocation {
  public:
    FailingAllocation(Index number, std::size_t bytes);
    ~FailingAllocation();
    FailingAllocation(const FailingAllocation&) = delete;
    FailingAllocation& operator=(const FailingAllocation&) = delete;
    bool happened() const;
};

/// Collective: `call` with its 1st, 2nd, ... allocation of at least `bytes` failing, on the first, the second
/// and the last rank in turn, until it makes fewer: whenever one failed, all ranks throw the same
/// Error(study, no_memory), and none waits for another.
/// @param call  collective over the world; to be repeated any number of times
/// @param all   failures that are tried one by one; from there on they are tried at growing distances
template <class Call>
void expect_shared_failures(Call&& call, std::size_t bytes, Index all = 24) {
    Index failures = 0;
    for (const int rank : std::set<int>{0, std::min(1, world_size() - 1), world_size() - 1})
        for (Index number = 1;; number += number < all ? 1 : number / 6) {
            SCOPED_TRACE(::testing::Message() << "allocation " << number << " on rank " << rank);
            bool failed = false;
            const Thrown thrown = [&] {
                std::optional<FailingAllocation> failing;
                if (world_rank() == rank) failing.emplace(number, bytes);
                const Thrown result = thrown_by(call);
                failed = failing && failing->happened();
                return result;
            }();
            failed = any_rank(MPI_COMM_WORLD, failed);
            const std::vector<std::string> texts = gather_to_all(MPI_COMM_WORLD, thrown.text);
            for (const std::string& text : texts) EXPECT_EQ(text, texts.front());
            if (!failed) {
                EXPECT_EQ(thrown.text, "");
                break;
            }
            EXPECT_EQ(thrown.status, ExitStatus::study) << thrown.text;
            EXPECT_EQ(thrown.kind, ErrorKind::no_memory) << thrown.text;
            ++failures;
        }
    EXPECT_GT(failures, 0) << "nothing of that size is allocated";
}

}  // namespace tangram::testing
