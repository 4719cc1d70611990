// Other programs that do the same work in a browser, measured in the same run on the same machine.
// A peer: { name, run({ lab, model, lengths, runs, ours }) -> a line of text for its row }.
export const peers = [];
