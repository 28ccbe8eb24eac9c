#include "tangram/study/file_contents.hpp"

#include <gtest/gtest.h>

namespace tangram {
namespace {

class FileContents : public ::testing::Test {
  protected:
    void SetUp() override {
        const std::string name = ::testing::UnitTest::GetInstance()->current_test_info()->name();
        file_ = std::filesystem::temp_directory_path() / ("tangram_" + name + ".h5");
    }
    void TearDown() override { std::filesystem::remove(file_); }
    std::filesystem::path file_;
};

using Rows = std::vector<std::pair<std::string, std::string>>;

Rows warnings_of(const Hdf5File& file) {
    const std::vector<TableColumn> columns = file.read_table("/warnings");
    EXPECT_EQ(columns.size(), 2u);
    EXPECT_EQ(columns[0].name, "stage");
    EXPECT_EQ(columns[1].name, "text");
    Rows rows;
    for (std::size_t w = 0; w < columns[0].texts.size(); ++w)
        rows.emplace_back(columns[0].texts[w], columns[1].texts[w]);
    return rows;
}

Log with_warning(const std::string& stage, const std::string& text) {
    Log log(true, true, {});
    log.enter(stage);
    log.warn(text);
    return log;
}

TEST_F(FileContents, WarningsAreThoseOfTheRunsThatMadeWhatIsThere) {
    Hdf5File file = Hdf5File::create(file_);
    complete_file(file, with_warning("gram", "a"), "gram");
    complete_file(file, with_warning("spectrum", "b"), "spectrum", {"rates"});
    complete_file(file, with_warning("rates", "c"), "rates");
    EXPECT_EQ(warnings_of(file), (Rows{{"gram", "a"}, {"spectrum", "b"}, {"rates", "c"}}));
    // Of a stage that is made once more, the last run's; of another stage of that run, none.
    complete_file(file, with_warning("rates", "d"), "rates");
    complete_file(file, with_warning("gram", "not of rates"), "rates");
    EXPECT_EQ(warnings_of(file), (Rows{{"gram", "a"}, {"spectrum", "b"}}));
    complete_file(file, with_warning("rates", "e"), "rates");
    complete_file(file, with_warning("spectrum", "f"), "spectrum", {"rates"});
    EXPECT_EQ(warnings_of(file), (Rows{{"gram", "a"}, {"spectrum", "f"}}));
}

TEST_F(FileContents, APathIsExplainedByItsFirstEntry) {
    Hdf5File file = Hdf5File::create(file_);
    file.write("/kernel/groups/mlp/gram", std::vector<double>{1}, {1, 1});
    file.write("/kernel/signgd/gram", std::vector<double>{1}, {1, 1});
    file.write("/rates/stopping/step", std::vector<double>{0, 1});
    file.write("/rates/stopping/bias2", std::vector<double>{1, 0});
    complete_file(file, Log(true, true, {}), "gram");
    EXPECT_NE(file.text_attribute("/kernel/groups/mlp/gram", "description").find("group of parameters"),
              std::string::npos);
    EXPECT_EQ(file.text_attribute("/kernel/signgd/gram", "description").find("group of parameters"),
              std::string::npos);
    EXPECT_EQ(file.text_attribute("/rates/stopping/step", "units"), "steps");
    EXPECT_EQ(file.text_attribute("/rates/stopping", "units"), "1");
    EXPECT_TRUE(file.has_attribute("/", "scale"));
    EXPECT_TRUE(warnings_of(file).empty());
}

}  // namespace
}  // namespace tangram
