# The device room's kernels for NVIDIA GPUs. Every operation is rounded as IEEE 754 has it, and none contracted: the bits
# are those of the host. They are a target of their own, as the flags of the rooms are no flags of nvcc.
if(NOT CMAKE_CUDA_ARCHITECTURES)
  set(CMAKE_CUDA_ARCHITECTURES 80 90 CACHE STRING "Compute capabilities, 80 and later")
endif()
enable_language(CUDA)
if(NOT DEFINED CMAKE_CUDA20_STANDARD_COMPILE_OPTION)  # CMake before 3.26
  set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION -std=c++20)
  set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION -std=c++20)
endif()

# Objects of a folder's kernels.
function(tangram_kernels target folder)
  file(GLOB kernels CONFIGURE_DEPENDS ${folder}/*.cu)
  add_library(${target} OBJECT ${kernels})
  target_include_directories(${target} PRIVATE ${PROJECT_SOURCE_DIR}/include)
  target_compile_options(${target} PRIVATE -fmad=false -ftz=false -prec-div=true -prec-sqrt=true
      --expt-relaxed-constexpr -Xcompiler=-ffp-contract=off)  # host copies of inline functions may be those that are linked
  set_target_properties(${target} PROPERTIES POSITION_INDEPENDENT_CODE ON)
endfunction()

tangram_kernels(tangram_kernels ${PROJECT_SOURCE_DIR}/src/device)
target_sources(tangram_device PRIVATE $<TARGET_OBJECTS:tangram_kernels>)
target_compile_definitions(tangram_device PRIVATE TANGRAM_HAS_CUDA)
add_executable(products_on_gpu EXCLUDE_FROM_ALL ${PROJECT_SOURCE_DIR}/tools/benchmarks/products_on_gpu.cpp)
target_link_libraries(products_on_gpu PRIVATE tangram_device)
target_link_libraries(tangram_device PUBLIC CUDA::cudart_static ${CMAKE_DL_LIBS})  # cuSOLVER is opened when it is needed
