#include "tangram/study/files_of_ranks.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <iterator>
#include <map>
#include <sstream>

#include "tangram/files/hash.hpp"
#include "tangram/parallel/communicator.hpp"

namespace tangram {

namespace {

/// A line for each file: what it holds, and its name.
std::string listing(const FilesRead& files) {
    std::string text;
    for (const FileRead& file : files.all())
        text +=
            fmt::format("{} {}\n", file.sha256.empty() ? std::to_string(file.size) : file.sha256, file.name);
    return text;
}

struct Listed {
    std::string name, holds;
};
std::vector<Listed> parse_listing(const std::string& text) {
    std::vector<Listed> files;
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);) {
        const std::size_t blank = line.find(' ');
        files.push_back({line.substr(blank + 1), line.substr(0, blank)});
    }
    return files;
}

/// What a rank's listing says that a file holds; empty: the rank has not read it.
std::string held(const std::vector<Listed>& files, const std::string& name) {
    const auto found = std::ranges::find(files, name, &Listed::name);
    return found == files.end() ? "" : found->holds;
}

/// "ranks 0, 2 and 4 more (node1)"
std::string ranks_text(const std::vector<int>& ranks, const std::vector<std::string>& hosts) {
    constexpr std::size_t shown = 4;
    const std::vector<int> first(ranks.begin(), ranks.begin() + std::min(std::ssize(ranks), Index{shown}));
    std::vector<std::string> of_first;
    for (const int rank : first) {
        const std::string& host = hosts[static_cast<std::size_t>(rank)];
        if (std::ranges::find(of_first, host) == of_first.end()) of_first.push_back(host);
    }
    return fmt::format("rank{} {}{} ({})", ranks.size() == 1 ? "" : "s", fmt::join(first, ", "),
                       ranks.size() > shown ? fmt::format(" and {} more", ranks.size() - shown) : "",
                       fmt::join(of_first, ", "));
}

/// @param listings  of every rank, not all alike
[[noreturn]] void refuse_different(const FilesRead& files, const std::vector<std::string>& listings,
                                   const std::vector<std::string>& hosts) {
    std::vector<std::vector<Listed>> of_rank;
    for (const std::string& text : listings) of_rank.push_back(parse_listing(text));
    std::string different;
    std::map<std::string, std::vector<int>> ranks_with;
    for (std::size_t r = 0; r < of_rank.size() && different.empty(); ++r)
        for (const Listed& file : of_rank[r]) {
            ranks_with.clear();
            for (std::size_t other = 0; other < of_rank.size(); ++other)
                ranks_with[held(of_rank[other], file.name)].push_back(static_cast<int>(other));
            if (ranks_with.size() == 1) continue;
            different = file.name;
            break;
        }
    std::vector<std::string> seen;
    for (const auto& [holds, ranks] : ranks_with)
        seen.push_back(fmt::format("{} {}", ranks_text(ranks, hosts),
                                   holds.empty()       ? "none"
                                   : holds.size() < 64 ? holds + " bytes"
                                                       : "sha256 " + holds.substr(0, 12)));
    throw Error(ExitStatus::input, ErrorKind::contradiction,
                fmt::format("{}: ranks see different files there: {}; give all of them the same copy",
                            (files.folder() / different).string(), fmt::join(seen, ", ")));
}

/// One word for each file, by position: which file it is on this host; "-" where it is not mapped here.
std::string identities(const FilesRead& files) {
    std::string words;
    for (const FileRead& file : files.all())
        words += file.mapped ? fmt::format("{}:{}:{}:{}:{} ", file.state->device, file.state->inode,
                                           file.size, file.state->written, file.state->changed)
                             : "- ";
    return words;
}

/// One word for each file: its hash, "-" where there is none yet.
std::string hashes(const FilesRead& files) {
    std::string words;
    for (const FileRead& file : files.all()) words += (file.sha256.empty() ? "-" : file.sha256) + " ";
    return words;
}

std::vector<std::string> words_of(const std::string& text) {
    std::istringstream stream(text);
    return {std::istream_iterator<std::string>(stream), {}};
}

}  // namespace

void agree_on_reading(MPI_Comm comm, std::exception_ptr failure) {
    int rank = 0, ranks = 1;
    TANGRAM_MPI(MPI_Comm_rank(comm, &rank));
    TANGRAM_MPI(MPI_Comm_size(comm, &ranks));
    const bool others_could = sum_over_ranks(comm, Index{failure ? 1 : 0}) < ranks;
    collectively(comm, [&] {
        if (!failure) return;
        try {
            std::rethrow_exception(failure);
        } catch (const Error& e) {
            if (!others_could) throw;
            throw Error(e.status(), e.kind(),
                        fmt::format("{} (so it is for rank {} on {}; for other ranks it is not)", e.what(),
                                    rank, host_name()));
        }
    });
}

void agree_on_files(const FilesRead& files, MPI_Comm comm) {
    const std::string mine = collectively(comm, [&] { return listing(files); });
    std::string first = collectively(comm, [&] { return mine; });
    broadcast(comm, first, 0);
    if (!any_rank(comm, mine != first)) return;
    const std::vector<std::string> listings = gather_to_all(comm, mine);
    const std::vector<std::string> hosts = gather_to_all(comm, collectively(comm, host_name));
    collectively(comm, [&] { refuse_different(files, listings, hosts); });
}

void know_files_of_first_rank(FilesRead& files, MPI_Comm comm) {
    std::string first = collectively(comm, [&] {
        std::string text;
        for (const FileRead& file : files.all())
            if (!file.sha256.empty()) text += fmt::format("{} {} {}\n", file.sha256, file.size, file.name);
        return text;
    });
    broadcast(comm, first, 0);
    collectively(comm, [&] {
        std::istringstream lines(first);
        std::string sha256, name;
        Index size = 0;
        while (lines >> sha256 >> size && lines.get() && std::getline(lines, name))
            files.add_known(name, sha256, size);
    });
}

std::string hash_mapped_files(FilesRead& files, MPI_Comm comm) {
    const Communicator host = Communicator::of_host(comm);
    // What gathering itself throws is thrown on all ranks of a host together.
    const auto gather = [&](const auto& words) {
        const std::string mine_in_words = collectively(comm, words);
        return collectively(comm, [&] { return gather_to_all(host.get(), mine_in_words); });
    };
    const std::vector<std::string> known = gather([&] { return identities(files); });
    std::vector<std::size_t> mapped, mine;    // files, and those that this rank reads
    std::map<std::size_t, std::size_t> from;  // of the others: the rank of this host that does
    collectively(comm, [&] {
        std::vector<std::vector<std::string>> of_rank;
        for (const std::string& text : known) of_rank.push_back(words_of(text));
        const auto me = static_cast<std::size_t>(host.rank());
        for (std::size_t f = 0; f < files.all().size(); ++f) {
            if (!files.all()[f].mapped) continue;
            std::vector<std::size_t> readers;
            for (std::size_t rank = 0; rank < of_rank.size(); ++rank)
                if (of_rank[rank].size() > f && of_rank[rank][f] == of_rank[me][f]) readers.push_back(rank);
            const std::size_t reader = readers[mapped.size() % readers.size()];
            if (reader == me)
                mine.push_back(f);
            else
                from[f] = reader;
            mapped.push_back(f);
        }
        files.hash(mine);
    });
    const std::vector<std::string> hashed = gather([&] { return hashes(files); });
    std::string hash = collectively(comm, [&] {
        for (const auto& [f, reader] : from) files.set_hash(f, words_of(hashed[reader])[f]);
        std::string of_all;
        for (const std::size_t f : mapped) of_all += files.all()[f].sha256;
        return mapped.size() > 1 ? sha256_of_bytes(std::as_bytes(std::span(of_all))) : of_all;
    });
    broadcast(comm, hash, 0);
    return hash;
}

void refuse_changed_files(const FilesRead& files, MPI_Comm comm) {
    int rank = 0;
    TANGRAM_MPI(MPI_Comm_rank(comm, &rank));
    collectively(comm, [&] {
        if (const FileRead* const file = files.changed())
            throw Error(
                ExitStatus::input, ErrorKind::changed,
                fmt::format("{}: was changed while the kernel was computed from it (seen by rank {} on "
                            "{}); nothing was written; leave the model alone and run again",
                            file->path.string(), rank, host_name()));
    });
}

}  // namespace tangram
