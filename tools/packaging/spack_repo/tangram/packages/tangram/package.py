"""Spack builds tangram from the checkout that this file lies in: `spack repo add tools/packaging/spack_repo/tangram`, then
`spack install tangram`. Branch main counts, what is not committed does not."""
from pathlib import Path

from spack_repo.builtin.build_systems.cmake import CMakePackage

from spack.package import *


class Tangram(CMakePackage):
    """Exact empirical neural tangent kernels of pretrained transformers, their spectra, and what those say about
    fine-tuning."""

    git = f"file://{Path(__file__).resolve().parents[6]}"

    license("MIT")

    version("main", branch="main")

    variant("elpa", default=True, description="The solvers elpa1 and elpa2")
    variant("native", default=False, description="Compile for the processor that builds, whatever Spack's target is")
    variant("python", default=True, description="What the Python package and tangram-plot need")

    depends_on("c", type="build")
    depends_on("cxx", type="build")
    depends_on("cmake@3.25:", type="build")
    depends_on("ninja", type="build")
    depends_on("pkgconfig", type="build")
    depends_on("git", type="build")
    generator("ninja")

    depends_on("mpi")
    depends_on("blas")
    depends_on("lapack")
    depends_on("scalapack")
    depends_on("hdf5+mpi+hl")
    depends_on("elpa~openmp", when="+elpa")  # +openmp is another library, elpa_openmp
    depends_on("eigen@3.4")
    depends_on("fmt")
    depends_on("spdlog")  # always on fmt of its own package
    depends_on("tomlplusplus")
    depends_on("nlohmann-json")
    depends_on("cli11")
    depends_on("icu4c cxxstd=17")
    depends_on("openssl")
    depends_on("zlib-api")

    with when("+python"):
        depends_on("python@3.9:", type="run")
        depends_on("py-h5py", type="run")
        depends_on("py-numpy", type="run")
        depends_on("py-matplotlib", type="run")

    conflicts("%gcc@:11", msg="tangram is C++20")

    def cmake_args(self):
        return [
            self.define("TANGRAM_TESTS", False),
            self.define_from_variant("TANGRAM_ELPA", "elpa"),
            self.define_from_variant("TANGRAM_NATIVE", "native"),
            self.define("ScaLAPACK_LIBRARY", self.spec["scalapack"].libs.joined(";")),
        ]

    def setup_run_environment(self, env):
        shared = self.prefix.share.tangram
        env.prepend_path("PYTHONPATH", shared.tools.python)
        env.set("TANGRAM_JOBS", shared.jobs)
