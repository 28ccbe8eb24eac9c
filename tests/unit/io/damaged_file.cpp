#include "tangram/io/damaged_file.hpp"

#include <gtest/gtest.h>
#include <hdf5.h>

#include <cstdint>

namespace tangram {
namespace {

/// A signal with libhdf5 on the stack: it writes its version to where nothing is.
void break_in_hdf5() {
    unsigned minor = 0, release = 0;
    static_cast<void>(H5get_libversion(reinterpret_cast<unsigned*>(std::uintptr_t{8}), &minor, &release));
}

TEST(DamagedFiles, AreNamedWithTheStatusOfTheirSide) {
    const auto break_off = [] {
        name_damaged_files();
        note_hdf5_file({"some folder/torn.h5", ExitStatus::input});
        break_in_hdf5();
    };
    EXPECT_EXIT(break_off(), ::testing::ExitedWithCode(3), "error: some folder/torn\\.h5: ");
}

TEST(DamagedFiles, AtTheEndLeaveTheStatusAndNoSuccessInSilence) {
    const auto end_with = [](int status) {
        name_damaged_files();
        note_hdf5_file({"torn.h5", ExitStatus::input});
        note_end(status);
        break_in_hdf5();
    };
    EXPECT_EXIT(end_with(4), ::testing::ExitedWithCode(4), "^$");  // its message was said before
    EXPECT_EXIT(end_with(0), ::testing::ExitedWithCode(0), "^tangram: the HDF5 library broke off");
}

}  // namespace
}  // namespace tangram
