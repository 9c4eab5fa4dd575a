// Fastify with the facts of Butler 16.0.4's schema for starting tasks, on a port of loopback: node fastify.mjs PORT
// The answer is what the handler gets, after Fastify's coercion; what the schema refuses is 400.
import Fastify from 'fastify'

const server = Fastify({ bodyLimit: 1024 * 1024 })
const schema = {
  params: { type: 'object', properties: { taskId: { type: 'string' } } },
  querystring: { type: 'object', properties: { allTaskIdsMustExist: { type: 'boolean' } } },
  body: {
    type: 'array',
    items: {
      type: 'object',
      properties: {
        type: {
          type: 'string',
          enum: ['keyvaluestore', 'starttaskid', 'starttasktag', 'starttaskcustomproperty']
        },
        payload: { type: 'object' }
      }
    }
  }
}
for (const method of ['PUT', 'POST']) {
  server.route({
    method,
    url: '/v4/reloadtask/:taskId/start',
    schema,
    handler: async (request) => ({ body: request.body, query: request.query })
  })
}
await server.listen({ port: Number(process.argv[2]), host: '127.0.0.1' })
