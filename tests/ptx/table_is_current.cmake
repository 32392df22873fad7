# Compares what `farwarp-ptx table` prints with docs/ptx.md.
execute_process(COMMAND ${TOOL} table OUTPUT_VARIABLE printed RESULT_VARIABLE status)
file(READ ${DOCUMENT} written)
if(NOT status EQUAL 0 OR NOT printed STREQUAL written)
  message(FATAL_ERROR "docs/ptx.md is not what the decoder takes today. "
                      "Run: farwarp-ptx table > docs/ptx.md")
endif()
