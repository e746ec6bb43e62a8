// In place of decoders of formats that soilscale does not write.

function refuse() {
  throw new Error("this file is compressed in a way that soilscale does not write, and the viewer does not read");
}

export default { fromConfig: refuse };
export const decode = refuse;
export const ZSTDDecoder = refuse;
