#include "tangram/io/output.hpp"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <memory>
#include <thread>

#include "scratch.hpp"
#include "tangram/io/matrix_io.hpp"

namespace tangram {
namespace {

using namespace testing_io;

void write_number(const std::filesystem::path& file, const std::string& path, double value, bool keep) {
    StagedFile staged(MPI_COMM_WORLD, file, keep, 0);
    staged.write_small([&](Hdf5File& h5) { h5.write(path, std::vector<double>{value}); });
    staged.commit();
}

double number_in(const std::filesystem::path& file, const std::string& path) {
    return Hdf5File::open(file, false, ExitStatus::output).read_doubles(path, 1).front();
}

/// On every rank, after a barrier: does the first rank see the file?
bool there(const std::filesystem::path& file) {
    barrier();
    return first_rank_says([&] { return std::filesystem::exists(file); });
}
std::filesystem::path partial(const std::filesystem::path& file) { return file.string() + ".partial"; }

TEST(StagedFile, AppearsOnlyWhenCommitted) {
    const Scratch scratch;
    const auto file = scratch / "out.h5";
    {
        StagedFile staged(MPI_COMM_WORLD, file, false, 0);
        staged.write_small([](Hdf5File& h5) { h5.write("/a", std::vector<double>{1}); });
        EXPECT_TRUE(there(partial(file)));
        EXPECT_FALSE(there(file));
    }
    EXPECT_FALSE(there(partial(file)));
    EXPECT_FALSE(there(file));
    write_number(file, "/a", 1, false);
    EXPECT_TRUE(there(file));
    EXPECT_FALSE(there(partial(file)));
    EXPECT_EQ(number_in(file, "/a"), 1);
    barrier();

    const std::string before = content(file);
    barrier();
    {
        StagedFile staged(MPI_COMM_WORLD, file, true, 0);
        staged.write_small([](Hdf5File& h5) {
            h5.remove("/a");
            h5.write("/b", std::vector<double>{2});
        });
    }
    barrier();
    EXPECT_TRUE(content(file) == before) << "an abandoned file changed the finished one";
    barrier();
    write_number(file, "/b", 2, true);
    EXPECT_EQ(number_in(file, "/a"), 1);
    EXPECT_EQ(number_in(file, "/b"), 2);
    barrier();
    write_number(file, "/c", 3, false);
    EXPECT_EQ(Hdf5File::open(file, false, ExitStatus::output).children("/"), std::vector<std::string>{"c"});
}

TEST(StagedFile, OneRanksProblemReachesAll) {
    const Scratch scratch;
    const auto file = scratch / "out.h5";
    const Caught problem = caught([&] {
        StagedFile staged(MPI_COMM_WORLD, file, false, 0);
        staged.write_small([](Hdf5File& h5) {
            h5.write("/a", std::vector<double>{1});
            h5.write("/a/b", std::vector<double>{1});
        });
    });
    EXPECT_TRUE(problem.is(ExitStatus::output, ErrorKind::malformed) && problem.names("out.h5.partial: /a/b"))
        << problem.text;
    EXPECT_FALSE(there(partial(file)));
    EXPECT_FALSE(there(file));
}

TEST(StagedFile, ReplacesAStagesMatrixWithoutGrowing) {
    const Scratch scratch;
    const auto file = scratch / "out.h5";
    const ProcessGrid grid = ProcessGrid::most_square(MPI_COMM_WORLD);
    DistributedMatrix matrix(grid, 300, 300, 32);
    fill(matrix);
    Index first = 0;
    for (int round = 0; round < 4; ++round) {
        StagedFile staged(MPI_COMM_WORLD, file, round > 0, 0);
        staged.write_small([](Hdf5File& h5) {
            h5.remove("/stage");
            h5.create_matrix("/stage/matrix", 300, 300);
            h5.set_attribute("/stage", "done", Index{1});
        });
        write_matrix(staged.partial(), "/stage/matrix", matrix, Orientation::as_is);
        staged.commit();
        barrier();
        const auto size = static_cast<Index>(std::filesystem::file_size(file));
        if (round == 0) first = size;
        EXPECT_LT(size, first + 100000);
        barrier();
    }
    EXPECT_EQ(
        wrong_entries(read_matrix({file, ExitStatus::output}, "/stage/matrix", grid, 32, Orientation::as_is)),
        0);
}

/// A limit on the size of this process's files, until it is lifted.
class FileSizeLimit {
  public:
    FileSizeLimit() : handler_(std::signal(SIGXFSZ, SIG_IGN)) { getrlimit(RLIMIT_FSIZE, &before_); }
    ~FileSizeLimit() {
        lift();
        std::signal(SIGXFSZ, handler_);
    }
    FileSizeLimit(const FileSizeLimit&) = delete;
    FileSizeLimit& operator=(const FileSizeLimit&) = delete;
    void set(Index bytes) const {
        const rlimit small{static_cast<rlim_t>(bytes), before_.rlim_max};
        setrlimit(RLIMIT_FSIZE, &small);
    }
    void lift() const { setrlimit(RLIMIT_FSIZE, &before_); }

  private:
    void (*handler_)(int);
    rlimit before_{};
};

/// Ranks copy whole mebibytes, some more than others, and those of a small file on the first rank alone.
TEST(StagedFile, IsACopyOfAllRanks) {
    const Scratch scratch;
    const auto file = scratch / "out.h5";
    for (const Index numbers : {Index{10}, Index{131072}, Index{900001}}) {
        std::vector<double> values(static_cast<std::size_t>(numbers));
        for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<double>(i) + 0.5;
        {
            StagedFile staged(MPI_COMM_WORLD, file, false, 0);
            staged.write_small([&](Hdf5File& h5) { h5.write("/a", values); });
            staged.commit();
        }
        const StagedFile staged(MPI_COMM_WORLD, file, true, 0);
        barrier();
        EXPECT_TRUE(content(staged.partial()) == content(file)) << numbers;
        EXPECT_TRUE(std::filesystem::status(staged.partial()).permissions() ==
                    std::filesystem::status(file).permissions());
        barrier();
    }
    const FileSizeLimit limit;
    if (world_rank() == world_size() - 1) limit.set(1000);
    const Caught problem = caught([&] { const StagedFile staged(MPI_COMM_WORLD, file, true, 0); });
    limit.lift();
    EXPECT_TRUE(problem.is(ExitStatus::output, ErrorKind::no_access) &&
                problem.names("out.h5.partial: cannot be copied from the finished file"))
        << problem.text;
    EXPECT_FALSE(there(partial(file)));
}

TEST(StagedFile, RefusesPlacesThatCannotBeWritten) {
    const Scratch scratch;
    const auto attempt = [&](const std::filesystem::path& file, bool keep) {
        return caught([&] { write_number(file, "/a", 1, keep); });
    };
    Caught problem = attempt(scratch / "none/out.h5", false);
    EXPECT_TRUE(problem.is(ExitStatus::output, ErrorKind::missing) && problem.names("none/out.h5"))
        << problem.text;

    if (world_rank() == 0) std::filesystem::create_directories(scratch / "folder.h5");
    barrier();
    problem = attempt(scratch / "folder.h5", true);
    EXPECT_TRUE(problem.is(ExitStatus::output, ErrorKind::malformed) && problem.names("folder.h5"))
        << problem.text;

    const auto guarded = scratch / "guarded.h5";
    write_number(guarded, "/a", 7, false);
    if (world_rank() == 0) chmod(guarded.c_str(), 0444);
    barrier();
    problem = attempt(guarded, true);
    EXPECT_TRUE(problem.is(ExitStatus::output, ErrorKind::no_access) && problem.names(guarded.string()))
        << problem.text;
    EXPECT_EQ(number_in(guarded, "/a"), 7);
    EXPECT_FALSE(there(partial(guarded)));

    const auto torn = scratch / "torn.h5";
    write_number(torn, "/a", 7, false);
    if (world_rank() == 0) std::filesystem::resize_file(torn, 100);
    barrier();
    problem = attempt(torn, true);
    EXPECT_TRUE(problem.is(ExitStatus::output, ErrorKind::malformed) && problem.names("torn.h5: ") &&
                !problem.names("partial"))
        << problem.text;
    EXPECT_FALSE(there(partial(torn)));
}

TEST(StagedFile, AddsToAFileThatIsThereAndMakesNoneInItsPlace) {
    const Scratch scratch;
    const auto file = scratch / "out.h5";
    const Caught gone = caught([&] { write_number(file, "/a", 1, true); });
    EXPECT_TRUE(gone.is(ExitStatus::output, ErrorKind::missing) && gone.names("out.h5")) << gone.text;
    EXPECT_FALSE(there(file));
    EXPECT_FALSE(there(partial(file)));
}

TEST(StagedFile, PlantedLinksAreNotFollowed) {
    const Scratch scratch;
    const auto file = scratch / "out.h5", victim = scratch / "victim";
    const auto plant = [&](const std::filesystem::path& target) {
        if (world_rank() == 0) {
            std::ofstream(victim) << "precious";
            std::filesystem::create_symlink(target, partial(file));
        }
        barrier();
    };
    for (const bool keep : {false, true})
        for (const auto& target : {victim, scratch / "nothing"}) {
            plant(target);
            write_number(file, "/x", 3.0, keep);
            EXPECT_EQ(number_in(file, "/x"), 3.0);
            EXPECT_FALSE(std::filesystem::is_symlink(file));
            EXPECT_EQ(std::filesystem::file_size(victim), 8);
            EXPECT_FALSE(std::filesystem::exists(scratch / "nothing"));
            barrier();
        }
    if (world_rank() == 0) std::filesystem::create_symlink(victim, file.string() + ".lock");
    barrier();
    const Caught problem = caught([&] { const OutputLock lock(MPI_COMM_WORLD, file); });
    EXPECT_TRUE(problem.is(ExitStatus::output, ErrorKind::unsupported) && problem.names("out.h5.lock"))
        << problem.text;
    EXPECT_EQ(std::filesystem::file_size(victim), 8);
    barrier();
    if (world_rank() == 0) {
        std::filesystem::remove(file.string() + ".lock");
        std::filesystem::create_hard_link(victim, file.string() + ".lock");
    }
    barrier();
    const Caught hard = caught([&] { const OutputLock lock(MPI_COMM_WORLD, file); });
    EXPECT_TRUE(hard.is(ExitStatus::output, ErrorKind::unsupported) && hard.names("out.h5.lock"))
        << hard.text;
    EXPECT_EQ(std::filesystem::file_size(victim), 8);
}

TEST(StagedFile, HasTheUsersUmask) {
    const Scratch scratch;
    const auto file = scratch / "out.h5";
    const mode_t before = umask(027);
    write_number(file, "/x", 3.0, false);
    EXPECT_EQ(std::filesystem::status(file).permissions(), std::filesystem::perms(0640));
    write_number(file, "/y", 3.0, true);
    EXPECT_EQ(std::filesystem::status(file).permissions(), std::filesystem::perms(0640));
    // Never for all to write, whatever the umask says and the file before allowed.
    umask(0);
    write_number(file, "/z", 3.0, false);
    EXPECT_EQ(std::filesystem::status(file).permissions(), std::filesystem::perms(0664));
    barrier();
    if (world_rank() == 0) std::filesystem::permissions(file, std::filesystem::perms(0666));
    barrier();
    write_number(file, "/z", 4.0, true);
    EXPECT_EQ(std::filesystem::status(file).permissions(), std::filesystem::perms(0664));
    umask(before);
    barrier();
}

TEST(StagedFile, RefusesAReadOnlyFileSystem) {
    const Scratch scratch;
    const Mount writable(scratch / "disk", "-t tmpfs -o size=1m none");
    if (!writable.made()) GTEST_SKIP() << "this process may not mount a tmpfs";
    const auto file = scratch / "disk/out.h5";
    const ProcessGrid grid = ProcessGrid::most_square(MPI_COMM_WORLD);
    {
        StagedFile staged(MPI_COMM_WORLD, file, false, 0);
        DistributedMatrix matrix(grid, 9, 9, 2);
        fill(matrix);
        staged.write_small([](Hdf5File& h5) { h5.create_matrix("/m", 9, 9); });
        write_matrix(staged.partial(), "/m", matrix, Orientation::as_is);
        staged.commit();
    }
    EXPECT_TRUE(first_rank_says([&] { return run("mount -o remount,ro " + (scratch / "disk").string()); }));
    Caught problem = caught([&] { write_number(file, "/a", 1, true); });
    EXPECT_TRUE(problem.is(ExitStatus::output, ErrorKind::no_access) && problem.names("out.h5") &&
                problem.names("Read-only file system"))
        << problem.text;
    problem = caught([&] { OutputLock(MPI_COMM_WORLD, file); });
    EXPECT_TRUE(problem.is(ExitStatus::output, ErrorKind::no_access) &&
                problem.names("Read-only file system"))
        << problem.text;
    EXPECT_EQ(wrong_entries(read_matrix({file, ExitStatus::input}, "/m", grid, 4, Orientation::as_is)), 0);
}

/// Each way of running out of space, on a disk of its own that already holds a finished file.
class FullDisk : public ::testing::Test {
  protected:
    void SetUp() override {
        disk_ = std::make_unique<Mount>(scratch_ / "disk", "-t tmpfs -o size=256k none");
        if (!disk_->made()) GTEST_SKIP() << "this process may not mount a tmpfs";
        write_number(file_, "/old", 42, false);
    }
    void TearDown() override { disk_.reset(); }

    void expect_refused(double announced, const std::function<void(Hdf5File&)>& write, bool keep = false,
                        const std::string& name = "No space left on device") {
        const Caught problem = caught([&] {
            StagedFile staged(MPI_COMM_WORLD, file_, keep, announced);
            staged.write_small(write);
            staged.commit();
        });
        EXPECT_TRUE(problem.is(ExitStatus::output, ErrorKind::no_access)) << problem.text;
        EXPECT_TRUE(problem.names("out.h5") && problem.names(name)) << problem.text;
        EXPECT_FALSE(there(partial(file_)));
        EXPECT_EQ(number_in(file_, "/old"), 42);
        // What HDF5 was left with must not disturb what comes after.
        write_number(scratch_ / "elsewhere.h5", "/a", 1, false);
        EXPECT_EQ(number_in(scratch_ / "elsewhere.h5", "/a"), 1);
        write_number(file_, "/old", 42, false);
    }

    const Scratch scratch_;
    const std::filesystem::path file_ = scratch_ / "disk/out.h5";
    std::unique_ptr<Mount> disk_;
};

TEST_F(FullDisk, IsKnownBeforehand) {
    expect_refused(
        1e6, [](Hdf5File&) { ADD_FAILURE() << "began to write"; }, false, "1.0 MB");
}
TEST_F(FullDisk, ShowsInSmallData) {
    expect_refused(0, [](Hdf5File& h5) { h5.write("/v", std::vector<double>(100000, 1.0)); });
}
TEST_F(FullDisk, ShowsInGroupsAndAttributesWhenTheFileIsClosed) {
    for (const int groups : {600, 2000, 20000})
        expect_refused(0, [&](Hdf5File& h5) {
            for (int g = 0; g < groups; ++g)
                h5.set_attribute("/g" + std::to_string(g), "text", std::string(400, 'x'));
        });
}
TEST_F(FullDisk, ShowsInAMatrixBeforeRanksWrite) {
    expect_refused(0, [](Hdf5File& h5) { h5.create_matrix("/m", 300, 300); });
    expect_refused(
        0, [](Hdf5File& h5) { h5.create_matrix("/m", 300, 300); }, true);
}
TEST_F(FullDisk, ShowsInTheCopyOfTheFinishedFile) {
    {
        StagedFile staged(MPI_COMM_WORLD, file_, true, 0);
        staged.write_small([](Hdf5File& h5) { h5.write("/big", std::vector<double>(18000, 1.0)); });
        staged.commit();
    }
    expect_refused(
        0, [](Hdf5File&) {}, true, "MB");
}

TEST(StagedFile, ClaimsSpaceWhereTheFileSystemPromisesNone) {
    const Scratch scratch;
    const auto image = scratch / "image";
    const bool formatted = first_rank_says([&] {
        return run("truncate -s 4M " + image.string() + " && PATH=$PATH:/sbin:/usr/sbin mkfs.ext2 -q -F " +
                   image.string());
    });
    if (!formatted) GTEST_SKIP() << "no mkfs.ext2";
    const Mount disk(scratch / "disk", "-o loop " + image.string());
    if (!disk.made()) GTEST_SKIP() << "this process may not mount a loop device";
    const auto file = scratch / "disk/out.h5";
    const ProcessGrid grid = ProcessGrid::most_square(MPI_COMM_WORLD);
    write_number(file, "/old", 42, false);
    const Caught problem = caught([&] {
        StagedFile staged(MPI_COMM_WORLD, file, true, 0);
        staged.write_small([](Hdf5File& h5) { h5.create_matrix("/m", 1000, 1000); });
    });
    EXPECT_TRUE(problem.is(ExitStatus::output, ErrorKind::no_access) &&
                problem.names("No space left on device"))
        << problem.text;
    EXPECT_FALSE(there(partial(file)));
    EXPECT_EQ(number_in(file, "/old"), 42);
    barrier();
    {
        // Of more than one mebibyte, of which all ranks claim some.
        DistributedMatrix matrix(grid, 550, 550, 16);
        fill(matrix);
        StagedFile staged(MPI_COMM_WORLD, file, true, 0);
        staged.write_small([](Hdf5File& h5) { h5.create_matrix("/m", 550, 550); });
        write_matrix(staged.partial(), "/m", matrix, Orientation::as_is);
        // A second visit must not claim, and so zero, what is written.
        staged.write_small([](Hdf5File& h5) { h5.write("/late", std::vector<double>{5}); });
        staged.commit();
    }
    EXPECT_EQ(wrong_entries(read_matrix({file, ExitStatus::output}, "/m", grid, 16, Orientation::as_is)), 0);
    EXPECT_EQ(number_in(file, "/old"), 42);
    EXPECT_EQ(number_in(file, "/late"), 5);
}

TEST(StagedFile, SurvivesAWriteThatFailsOnOneRank) {
    const Scratch scratch;
    const auto file = scratch / "out.h5";
    const ProcessGrid grid = ProcessGrid::most_square(MPI_COMM_WORLD);
    DistributedMatrix matrix(grid, 400, 400, 16);
    fill(matrix);
    const FileSizeLimit limit;
    for (const int victim : {0, world_size() - 1}) {
        StagedFile staged(MPI_COMM_WORLD, file, false, 0);
        staged.write_small([](Hdf5File& h5) { h5.create_matrix("/m", 400, 400); });
        if (world_rank() == victim) limit.set(10000);
        // In pieces of ten rows, so that every rank has some to write.
        const Caught problem =
            caught([&] { write_matrix(staged.partial(), "/m", matrix, Orientation::as_is, 32000); });
        limit.lift();
        EXPECT_TRUE(problem.is(ExitStatus::output, ErrorKind::no_access)) << problem.text;
        EXPECT_TRUE(problem.names("out.h5.partial: /m") && problem.names("rank " + std::to_string(victim)))
            << problem.text;
        barrier();
    }
    EXPECT_FALSE(there(file));
    EXPECT_FALSE(there(partial(file)));
}

TEST(OutputLock, RefusesASecondRun) {
    const Scratch scratch;
    const auto output = scratch / "out.h5", lock = scratch / "out.h5.lock";
    {
        const OutputLock mine(MPI_COMM_WORLD, output);
        EXPECT_TRUE(there(lock));
        std::string host(256, '\0');
        gethostname(host.data(), host.size() - 1);
        host.resize(host.find('\0'));
        std::string process = std::to_string(getpid());
        broadcast(MPI_COMM_WORLD, process, 0);
        const Caught problem = caught([&] { OutputLock(MPI_COMM_WORLD, output, std::chrono::seconds(0)); });
        EXPECT_TRUE(problem.is(ExitStatus::output, ErrorKind::in_use) && problem.names("out.h5") &&
                    problem.names("host " + host) && problem.names("process " + process) &&
                    problem.names("since 20"))
            << problem.text;
        EXPECT_TRUE(there(lock));
        EXPECT_EQ(caught([&] { OutputLock(MPI_COMM_WORLD, scratch / "other.h5"); }).status, 0);
    }
    EXPECT_FALSE(there(lock));
    EXPECT_EQ(caught([&] { OutputLock(MPI_COMM_WORLD, output); }).status, 0);
    EXPECT_FALSE(there(lock));
}

TEST(OutputLock, AnotherProcessHoldsItUntilItDies) {
    const Scratch scratch;
    const auto output = scratch / "out.h5", lock = scratch / "out.h5.lock", ready = scratch / "ready";
    pid_t child = -1;
    if (world_rank() == 0) {
        const std::string script =
            "import fcntl, sys, time; f = open(sys.argv[1], 'w'); fcntl.flock(f, fcntl.LOCK_EX); "
            "f.write('host elsewhere, process 12345, since yesterday'); f.flush(); "
            "open(sys.argv[2], 'w'); time.sleep(600)";
        child = fork();
        if (child == 0) {
            execl("/usr/bin/python3", "python3", "-c", script.c_str(), lock.c_str(), ready.c_str(), nullptr);
            _exit(1);
        }
        for (int wait = 0; wait < 1000 && !std::filesystem::exists(ready); ++wait) usleep(10000);
    }
    EXPECT_TRUE(there(ready));
    const Caught problem = caught([&] { OutputLock(MPI_COMM_WORLD, output, std::chrono::seconds(0)); });
    EXPECT_TRUE(problem.is(ExitStatus::output, ErrorKind::in_use) &&
                problem.names("host elsewhere, process 12345"))
        << problem.text;
    // It dies while the next one waits; its file stays and is no lock.
    std::thread killer([&] {
        if (world_rank() != 0) return;
        usleep(300000);
        kill(child, SIGKILL);
        waitpid(child, nullptr, 0);
    });
    EXPECT_EQ(caught([&] { OutputLock(MPI_COMM_WORLD, output); }).status, 0);
    killer.join();
    EXPECT_FALSE(there(lock));
}

}  // namespace
}  // namespace tangram
