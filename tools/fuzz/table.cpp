#include "tangram/files/table.hpp"
#include "input_file.hpp"

using namespace tangram;

/// The first byte says which kind the rest is.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    if (size == 0) return 0;
    const char* const kinds[] = {"table.tsv", "table.csv", "table.jsonl"};
    return fuzz::read([&] {
        FilesRead files;
        const Table table = read_table(fuzz::file(kinds[data[0] % 3], fuzz::text(data + 1, size - 1)), files);
        for (const auto& row : table.rows)
            if (row.size() != table.columns.size()) std::abort();
    });
}
